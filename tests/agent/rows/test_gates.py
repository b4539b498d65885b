# SPDX-License-Identifier: Apache-2.0
"""Gates: open before the first row behind them is written, and closed only where none can be."""

import dataclasses
from collections.abc import Sequence
from ipaddress import IPv4Network

from ipos.abi import rows
from ipos.agent.heartbeat.membership import Members
from ipos.agent.rows import desired, pools
from ipos.agent.rows.gates import kind_of
from ipos.agent.rows.map_writer import Writer
from ipos.config.schema import Service
from tests.agent.made_up_farm import NOW_NS, WALL_MS, Memory, back, config, datagram, members, state


def heard() -> Members:
    """Two servers."""
    made = members()
    made.hear_myself(state(1), NOW_NS)
    assert made.receive(datagram(2), int(back(2)), NOW_NS, WALL_MS)
    return made


def wanted(services: Sequence[Service] = (), denied: Sequence[str] = ()) -> desired.Rows:
    chosen = config(*services)
    numbers = pools.number_pools(pools.definitions(chosen))
    names = pools.number_services(chosen, [])
    deny = {rows.Prefix(one.prefixlen, one.network_address): 1 for one in map(IPv4Network, denied)}
    made = desired.plan(chosen, names, numbers, heard(), {}, NOW_NS)
    return dataclasses.replace(made, deny=deny)


class GatedMemory(Memory):
    """Looks with each write whether rows are behind a gate that is closed."""

    def __init__(self) -> None:
        self.seen = 0
        self.hidden: list[int] = []
        super().__init__()

    @property
    def writes(self) -> int:
        return self.seen

    @writes.setter
    def writes(self, number: int) -> None:
        self.seen = number
        if not number:
            return
        tables = self.tables()
        gates = tables.gates.get(0) or rows.Gates()
        services = [key for key, _ in tables.addresses.items()]
        if (
            (gates.deny_empty and any(True for _ in tables.deny.items()))
            or any(foreign(gates.foreign_ports, key.port) for key in services)
            or any(foreign(gates.foreign_addresses, kind_of(key.ip)) for key in services)
        ):
            self.hidden.append(number)


def foreign(bits: bytes, number: int) -> bool:
    return bool(bits[number >> 3] >> (number & 7) & 1)


def test_no_row_is_ever_behind_a_closed_gate() -> None:
    memory = GatedMemory()
    tables = memory.tables()
    web, more = Service(name="web", port=80), Service(name="more", port=8443)
    writer = Writer(tables)
    for denies in ((), ("192.0.2.0/24",), (), ("10.0.0.0/8", "192.0.2.7/32"), ()):
        for services in ((web,), (web, more), (more,)):
            writer.write(wanted(services, denies), prune=True)
            gates = tables.gates.get(0)
            assert gates is not None
            assert gates.deny_empty is not bool(denies)
            assert not any(foreign(gates.foreign_ports, service.port) for service in services)
            assert foreign(gates.foreign_ports, 81)
            assert sum(map(int.bit_count, gates.foreign_addresses)) == 2**13 - 2, "two servers'"
    assert memory.seen > 10
    assert not memory.hidden


def test_a_port_that_was_a_service_once_is_never_foreign_again() -> None:
    """Connections outlive their service, and an agent the one before it."""
    tables = Memory().tables()
    Writer(tables).write(wanted([Service(name="web", port=8080)]), prune=True)
    for _ in range(2):
        Writer(tables).write(wanted(), prune=True)
        gates = tables.gates.get(0)
        assert gates is not None
        served = [port for port in range(65536) if not foreign(gates.foreign_ports, port)]
        assert served == [0, 80, 8080]
