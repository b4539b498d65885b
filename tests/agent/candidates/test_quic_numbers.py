# SPDX-License-Identifier: Apache-2.0
"""Servers' numbers in connection IDs: who has which, as far as the agent has heard."""

import pytest

from ipos.abi import rows
from ipos.agent.candidates.quic_numbers import number_rows
from ipos.config.connection_id import ConnectionId
from ipos.config.schema import Service
from tests.agent.running import Running

FARM = (
    Service(name="web", port=80),
    Service(name="h3", port=443, protocol="udp", mode="quic", connection_id=ConnectionId()),
)


@pytest.fixture
def running() -> Running:
    return Running(*FARM)


def test_every_server_has_the_end_of_its_back_address(running: Running) -> None:
    found = dict(running.tables.quic_numbers.items())
    assert found == {rows.QuicNumber(number, 1): number for number in (1, 2, 3)}
    service = running.tables.services.get(1)
    assert service is not None
    assert (service.mode, service.id_at, service.id_bytes) == (rows.Mode.QUIC, 1, 2)


def test_of_two_with_one_number_neither_has_it() -> None:
    members = list(Running(*FARM).members.by_ip.values())
    numbered = [(1, FARM[1])]
    assert len(number_rows(numbered, members)) == 3
    assert len(number_rows(numbered, [*members, members[0]])) == 2
