# SPDX-License-Identifier: Apache-2.0
"""How often the data plane asks its hash tables, and how often in vain.

A look-up costs as much as all the rest of a forwarded packet when its table is not in the cache,
and one in vain costs that for nothing. Who is denied and who is a member is not counted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from ipos.abi.layout import constant
from native.binding import maps
from native.library import Node
from tests.native.native_farm import Client, Farm
from tests.support.golden import packets as p
from tests.support.golden.machine import LISTENER, Config, NativeMachine, configure
from tests.support.golden.rows_close import LIVE
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_migration import HEAD_END
from tests.support.golden.rows_owner import OURS
from tests.support.golden.rows_request import forward

_HASHES = {1, 9, 11}  # BPF_MAP_TYPE_HASH, _LRU_HASH, _LPM_TRIE
_NOT_OF_CONNECTIONS = {"deny", "members"}
ATTACHED = constant("IPOS_EP_ATTACHED")
CONFIG = Config(candidates=(1, 2), answers_unread=True)


def asked(node: Node) -> Counter[str]:
    """Of the last program: map to look-ups, and with a minus before its name those in vain."""
    found = Counter[str]()
    for name, (times, vain) in node.asked().items():
        if maps()[name].type in _HASHES and name not in _NOT_OF_CONNECTIONS:
            found[name] += times
            found[f"-{name}"] += vain
    return +found


@pytest.fixture
def machine() -> Iterator[NativeMachine]:
    made = NativeMachine()
    made.listen([LISTENER])
    configure(made, CONFIG)
    yield made
    made.close()


def xdp(machine: NativeMachine, frame: bytes, where: str = "front") -> Counter[str]:
    machine.node.xdp(frame, machine.ifindex(where))
    return asked(machine.node)


def test_a_packet_for_another_server_is_one_look_up(machine: NativeMachine) -> None:
    machine.table("forward")[KEY] = forward(acknowledged=1)
    assert xdp(machine, p.client("A", seq=HEAD_END)) == Counter(forward=1)


def test_a_packet_for_our_own_kernel_is_one_look_up(machine: NativeMachine) -> None:
    machine.table("local")[KEY] = LIVE
    assert xdp(machine, p.client("PA", b"more", seq=HEAD_END)) == Counter(local=1)


def test_a_packet_out_of_a_frame_is_one_look_up(machine: NativeMachine) -> None:
    machine.table("connect")[KEY] = {**OURS, "state": ATTACHED}
    frame = p.packet(p.ip("A", seq=HEAD_END))
    assert xdp(machine, frame, "back") == Counter(connect=1)


def test_a_syn_asks_no_table_of_connections(machine: NativeMachine) -> None:
    frame = p.client("S", seq=p.IRS, options=p.syn_options())
    assert xdp(machine, frame) == Counter(addresses=1)
    assert machine.counters() == {"SYN_ACK": 1}


def test_the_third_segment_asks_only_for_what_may_be_lost(machine: NativeMachine) -> None:
    """Temporary evicts rows by itself, so nobody can count them."""
    found = xdp(machine, p.client("A"))
    assert found == Counter({"addresses": 1, "temporary": 2, "-temporary": 1})
    assert machine.counters()["COOKIE_ACCEPTED"] == 1


class _Watched:
    """Every program of every node of a farm, its questions added up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = Counter[str]()
        for name in ("_ran", "sockops"):
            monkeypatch.setattr(Node, name, self._watch(getattr(Node, name)))

    def _watch(self, ran: Callable[..., object]) -> Callable[..., object]:
        def watched(node: Node, *given: object, **named: object) -> object:
            done = ran(node, *given, **named)
            self.asked += asked(node)
            return done

        return watched

    def totals(self) -> tuple[int, int]:
        vain = sum(times for name, times in self.asked.items() if name.startswith("-"))
        return self.asked.total() - vain, vain


@pytest.mark.parametrize(("owner", "most"), [(1, (22, 3)), (2, (40, 5))])
def test_a_whole_connection(
    monkeypatch: pytest.MonkeyPatch, owner: int, most: tuple[int, int]
) -> None:
    """From SYN to the last acknowledgement: at its first server, or migrated to another one."""
    watched = _Watched(monkeypatch)
    farm = Farm((owner,))
    try:
        client = Client(farm)
        client.send("PA", 0, p.HEAD)
        owner_at = farm.hosts[owner].machine
        end = client.isn + 1 + len(p.HEAD)
        answer = p.answer("FPA", seq=client.iss + 1, ack=end, window=500, data=b"HTTP/1.1 200 OK")
        owner_at.egress(answer, "front")
        farm.client(p.ip("FA", seq=end, ack=client.iss + 17, options=p.echo(echoed=client.echoed)))
        owner_at.egress(p.answer("A", seq=client.iss + 17, ack=end + 1, window=500), "front")
        assert owner_at.counters()["CLOSED"] == 1
    finally:
        farm.close()
    assert all(now <= then for now, then in zip(watched.totals(), most, strict=True))
