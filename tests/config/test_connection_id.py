# SPDX-License-Identifier: Apache-2.0
"""Servers' numbers in connection IDs of QUIC."""

from ipaddress import IPv4Address

import pytest

from ipos.config.connection_id import ConnectionId
from ipos.config.modes import check_flows
from ipos.config.schema import Service
from tests.agent.made_up_farm import config

FIRST, SECOND, THIRD = map(IPv4Address, ("10.77.0.1", "10.77.0.2", "10.78.0.1"))


@pytest.mark.parametrize(
    ("size", "number"), [(1, 0x01), (2, 0x0001), (3, 0x4D0001), (4, 0x0A4D0001)]
)
def test_a_number_is_the_end_of_the_back_address(size: int, number: int) -> None:
    assert ConnectionId(server_id_bytes=size).number(int(FIRST)) == number


def test_members_with_one_number_are_told() -> None:
    members = [FIRST, SECOND, THIRD]
    assert list(ConnectionId(server_id_bytes=2).shared(members)) == [(FIRST, THIRD)]
    assert list(ConnectionId(server_id_bytes=3).shared(members)) == []


def test_the_check_of_a_file_says_so() -> None:
    service = Service(
        name="h3", port=443, protocol="udp", mode="quic",
        connection_id=ConnectionId(server_id_bytes=1),
    )  # fmt: skip
    made = config(service)
    made.farm.members.append(THIRD)
    said: list[str] = []
    check_flows(made, lambda _, text: said.append(text))
    (sentence,) = said
    assert sentence == (
        'service "h3" gives the servers 10.77.0.1 and 10.78.0.1 one number in connection IDs; let '
        "server_id_bytes be more"
    )
