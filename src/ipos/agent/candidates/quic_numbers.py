# SPDX-License-Identifier: Apache-2.0
"""Rows of the servers' numbers in connection IDs of QUIC. Pure."""

from collections.abc import Iterable

from ipos.abi import rows
from ipos.agent.heartbeat.member import Member
from ipos.config.schema import Service


def number_rows(
    numbered: Iterable[tuple[int, Service]], heard: Iterable[Member]
) -> dict[rows.QuicNumber, int]:
    """By number and service: the server's index. Of two with one number, neither has it."""
    found: dict[rows.QuicNumber, int] = {}
    members = list(heard)
    for index, service in numbered:
        if service.connection_id is None:
            continue
        shared = set()
        for member in members:
            if member.state is None:
                continue
            row = rows.QuicNumber(service.connection_id.number(member.state.back_ip), index)
            if row in found:
                shared.add(row)
            found[row] = member.index
        for row in shared:
            del found[row]
    return found
