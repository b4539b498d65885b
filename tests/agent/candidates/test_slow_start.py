# SPDX-License-Identifier: Apache-2.0
"""Who starts, since when, and what part of requests it is offered meanwhile."""

from typing import Any

from ipos.agent.candidates.slow_start import Starts
from ipos.agent.heartbeat.membership import Members
from ipos.config.schema import Service
from tests.agent.made_up_farm import MS, NOW_NS, WALL_MS, back, datagram, members, state

WEB = (Service(name="web", port=80, slow_start_ms=1600),)


class Account:
    """s1's account of s2, which speaks every 100 ms unless told otherwise."""

    def __init__(self) -> None:
        self.starts = Starts()
        self.farm: Members = members()
        self.now_ns = NOW_NS
        self.sequence = 0
        self.boot = WALL_MS

    def wait(self, ms: int, *, opening: bool = False, silent: bool = False, **said: object) -> None:
        for _ in range(ms // 100):
            self.now_ns += 100 * MS
            self.sequence += 1
            self.farm.hear_myself(state(1), self.now_ns)
            if not silent:
                told = datagram(2, boot=self.boot, sequence=self.sequence, **said)
                assert self.farm.receive(told, int(back(2)), self.now_ns, WALL_MS)
            self.starts.look(WEB, self.farm, self.now_ns, opening=opening)

    @property
    def ramp(self) -> int:
        assert ("web", 1) not in self.starts.ramps(WEB, self.now_ns)
        return self.starts.ramps(WEB, self.now_ns).get(("web", 2), 256)


def opened() -> Account:
    account = Account()
    account.wait(100, opening=True)
    return account


def test_who_was_there_before_is_not_held_back() -> None:
    assert opened().ramp == 256


def test_who_joins_later_starts_slowly() -> None:
    account = Account()
    account.wait(100, opening=True, silent=True)
    account.wait(100)
    ramps = [account.ramp]
    for _ in range(4):
        account.wait(400)
        ramps.append(account.ramp)
    assert ramps == [16, 72, 136, 192, 256], "in steps of a thirty-second"


def test_every_way_back_is_a_start() -> None:
    ways: tuple[dict[str, Any], ...] = ({"silent": True}, {"state": 2}, {"services": []})
    for away in ways:
        account = opened()
        account.wait(1500, **away)
        account.wait(100)
        assert account.ramp == 16, away
        account.wait(1600)
        assert account.ramp == 256, away


def test_a_server_that_goes_again_starts_again() -> None:
    account = opened()
    account.wait(200, state=2)
    account.wait(900)
    assert account.ramp == 136
    account.wait(200, state=2)
    account.wait(100)
    assert account.ramp == 16


def test_an_agent_that_restarts_stops_nothing() -> None:
    account = opened()
    account.boot += 5000
    account.wait(400, services=[])  # its checks have not answered yet
    account.wait(100)
    assert account.ramp == 256
    account.boot += 5000
    account.wait(3000, services=[])
    account.wait(100)
    assert account.ramp == 16, "that was no mere restart"


def test_no_slow_start_is_none() -> None:
    account = Account()
    account.wait(100, opening=True, silent=True)
    account.wait(100)
    at_once = (Service(name="web", port=80, slow_start_ms=0),)
    assert account.starts.ramps(at_once, account.now_ns) == {}


def test_who_was_cut_off_itself_holds_nobody_back() -> None:
    starts, farm, now_ns = Starts(), members(), NOW_NS

    def wait(ms: int, *heard: int) -> None:
        nonlocal now_ns
        for _ in range(ms // 100):
            now_ns += 100 * MS
            farm.hear_myself(state(1), now_ns)
            for number in heard:
                told = datagram(number, sequence=now_ns // MS)
                assert farm.receive(told, int(back(number)), now_ns, WALL_MS)
            starts.look(WEB, farm, now_ns, opening=now_ns <= NOW_NS + 1000 * MS)

    wait(1000, 2, 3)
    wait(300, 2)  # s3 falls silent first, s2 a little later
    wait(3000)
    wait(100, 2, 3)
    assert starts.ramps(WEB, now_ns) == {}
    wait(3000, 2)
    wait(100, 2, 3)
    assert starts.ramps(WEB, now_ns) == {("web", 3): 16}, "s3 alone was away"
