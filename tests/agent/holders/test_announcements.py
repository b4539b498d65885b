# SPDX-License-Identifier: Apache-2.0
"""What routers are told of, when, and what happens when they cannot be told."""

import asyncio
from collections.abc import Coroutine, Sequence
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ipos.abi.rows import Arp, ServerState
from ipos.agent.heartbeat import message
from ipos.agent.heartbeat.member import Standing
from ipos.agent.holders import announcements, route_file
from ipos.agent.holders.announcements import RETRY_NS, SETTLE_NS, Announcements
from ipos.agent.holders.states import SLEPT_NS
from ipos.agent.loop.undone import Undone
from tests.agent.made_up_farm import KEY, MS, NOW_NS, WALL_MS, back, front, members, state

ANY = int(IPv4Address("198.51.100.1"))
BEAT_NS = 100 * MS


class Routers:
    """s1 of a farm of three that all list one more address, and what it has told routers."""

    def __init__(self) -> None:
        self.told: list[list[int]] = []
        self.failure = ""
        self.undone = Undone()
        self.members = members()
        self.now_ns = NOW_NS
        self.sequence = 1
        self.waiting: list[Coroutine[None, None, None]] = []
        self.says: dict[int, dict[str, object]] = {}
        self.keeper = Announcements(
            self.members, [front(1), IPv4Address(ANY)], self._tell, self._spawn, self.undone,
            self.now_ns,
        )  # fmt: skip

    def _tell(self, addresses: Sequence[int]) -> str:
        self.told.append(list(addresses))
        return self.failure

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        self.waiting.append(work)
        return work  # type: ignore[return-value]

    def beat(self, *, settled: bool = True, pause_ns: int = BEAT_NS, **mine: object) -> None:
        self.now_ns += pause_ns
        self.sequence += 1
        for number in (1, 2, 3):
            lists = [int(front(number)), ANY]
            changes = {"addresses": lists, "holds": lists, **self.says.get(number, {})}
            if number == 1:
                said = state(1, addresses=lists, **mine)
                self.members.hear_myself(self.keeper.tell(said), self.now_ns)
            else:
                raw = message.encode(state(number, sequence=self.sequence, **changes), KEY)
                self.members.receive(raw, int(back(number)), self.now_ns, WALL_MS)
        self.keeper.look(self.now_ns, settled=settled)

    def work(self) -> None:
        """Let what was begun come to its end."""
        for one in self.waiting:
            asyncio.run(one)
        self.waiting.clear()


@pytest.fixture
def routers() -> Routers:
    return Routers()


def test_a_ready_server_announces_all_that_it_lists_once(routers: Routers) -> None:
    routers.beat(settled=False)
    assert not routers.waiting, "what an agent before it has announced stays"
    assert not routers.keeper.has_its_own
    for _ in range(3):
        routers.beat()
        routers.work()
    assert routers.told == [[int(front(1)), ANY]]
    assert routers.keeper.has_its_own
    assert routers.keeper.tell(state(1)).holds == [int(front(1)), ANY]
    assert routers.keeper.counts == {"taken": 2, "given_up": 0}


@pytest.mark.parametrize("mine", [ServerState.MAINT, ServerState.DRAIN])
def test_one_that_is_not_ready_withdraws(routers: Routers, mine: ServerState) -> None:
    routers.beat()
    routers.work()
    routers.beat(state=int(mine))
    routers.work()
    assert routers.told[1:] == [[]]
    assert routers.keeper.holds_any, "routers may not have heard it yet"
    for _ in range(SETTLE_NS // BEAT_NS + 1):
        routers.beat(state=int(mine))
    assert not routers.keeper.holds_any
    shown = {(one.server, one.address): one for one in routers.keeper.held(routers.now_ns)}
    why = shown["s1", "198.51.100.1"].why
    assert shown["s1", "198.51.100.1"].holder == ""
    assert why in ("s1 is in maintenance", "s1 drains")
    assert shown["s2", "198.51.100.1"].holder == "s2"
    assert routers.keeper.holder(ANY) == routers.members.by_ip[back(2)].index
    routers.beat()
    routers.work()
    assert routers.told[-1] == [int(front(1)), ANY]


def test_one_whose_front_is_out_withdraws(routers: Routers) -> None:
    routers.beat()
    routers.work()
    routers.members.myself.standing = Standing("its front interface has no carrier")
    routers.beat()
    routers.work()
    assert routers.told[1:] == [[]]


def test_what_fails_is_one_sentence_and_tried_again(routers: Routers) -> None:
    routers.failure = "birdc ended with status 1"
    routers.beat()
    routers.work()
    assert routers.undone.reasons() == [routers.failure]
    assert routers.keeper.has_its_own, "the agent is ready all the same"
    assert routers.keeper.tell(state(1)).holds == []
    for _ in range(RETRY_NS // BEAT_NS - 1):
        routers.beat()
    assert not routers.waiting
    routers.beat()
    routers.beat()
    routers.failure = ""
    routers.work()
    assert len(routers.told) == 2
    assert routers.undone.reasons() == []


def test_only_one_change_at_a_time_and_the_last_one_counts(routers: Routers) -> None:
    routers.beat()
    routers.beat(state=int(ServerState.MAINT))
    routers.beat()
    assert len(routers.waiting) == 1
    routers.work()
    routers.beat(state=int(ServerState.MAINT))
    routers.work()
    assert routers.told == [[int(front(1)), ANY], []]


def test_neighbours_are_answered_for_what_is_announced_and_for_its_first(routers: Routers) -> None:
    routers.beat()
    routers.work()
    routers.beat()
    arps = routers.keeper.arps()
    assert arps == {
        int(front(1)): Arp.ANSWER,
        ANY: Arp.ANSWER,
        int(front(2)): Arp.SILENT,
        int(front(3)): Arp.SILENT,
    }
    routers.beat(state=int(ServerState.MAINT))
    routers.work()
    assert routers.keeper.arps()[ANY] is Arp.SILENT
    assert routers.keeper.arps()[int(front(1))] is Arp.ANSWER, "routers speak with it by this one"
    assert ANY in routers.keeper.asks(routers.now_ns)


def test_one_that_was_away_asks_all_others(routers: Routers) -> None:
    routers.beat()
    routers.work()
    assert routers.keeper.returned() == {}
    routers.beat(pause_ns=SLEPT_NS)
    asked = [routers.keeper.returned() for _ in range(3)]
    assert [set(one.values()) for one in asked] == [{back(2)}, {back(3)}, set()]


def test_one_that_was_cut_off_asks_all_others_when_it_hears_them_again(routers: Routers) -> None:
    routers.beat()
    routers.work()
    for _ in range(3):
        routers.keeper.look(routers.now_ns, settled=True, cut_off=True)
        assert routers.keeper.learns(routers.now_ns)
        assert routers.keeper.returned() == {}
    routers.beat()
    assert not routers.keeper.learns(routers.now_ns)
    asked = [routers.keeper.returned() for _ in range(3)]
    assert [set(one.values()) for one in asked] == [{back(2)}, {back(3)}, set()]
    assert routers.keeper.taken == frozenset(), "several announce one address"


def test_the_file_is_of_static_routes_and_written_when_it_changes(tmp_path: Path) -> None:
    file, seen = tmp_path / "run" / "bird.conf", tmp_path / "seen"
    command = ["sh", "-c", f'echo "$IPOS_ADDRESSES" >> {seen}']
    for addresses in ([ANY], [ANY], []):
        assert announcements.tell(file, command, "s1", addresses) == ""
    assert seen.read_text() == "198.51.100.1\n198.51.100.1\n\n"
    assert file.read_text() == route_file.text("s1", [])
    assert "route 198.51.100.1/32 unreachable;" in route_file.text("s1", [ANY])
    before = file.stat().st_ino
    announcements.tell(file, command, "s1", [])
    assert file.stat().st_ino == before


def test_a_command_that_fails_and_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    why = "routers are not told of this server's addresses: "
    assert announcements.tell(tmp_path / "f", ["false"], "s1", []) == (
        f"{why}false ended with status 1"
    )
    (tmp_path / "d").write_text("")
    said = announcements.tell(tmp_path / "d" / "f", ["true"], "s1", [])
    assert said.startswith(why)
