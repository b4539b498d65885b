# SPDX-License-Identifier: Apache-2.0
"""One application from a choice to its end, with a made-up process and a made-up clock."""

import dataclasses
from typing import Any

import pytest

from ipos.agent.heartbeat.message import Choice
from ipos.agent.on_demand import lifecycle
from ipos.agent.on_demand.lifecycle import Application, Sight
from ipos.config.starting import Start
from ipos.errors import IposError
from ipos.instance.record import Phase, Record

START = Start(command=["/bin/shop"], idle_stop_s=10, start_timeout_s=5)
NOTHING = Sight(well=False)
WELL = Sight(well=True)


@dataclasses.dataclass
class Process:
    alive: bool = False
    starts: int = 0
    asked: list[bool] = dataclasses.field(default_factory=list)
    refuses: str = ""
    stubborn: bool = False
    commands: list[list[str]] = dataclasses.field(default_factory=list)

    def start(self, command: list[str], *_: Any) -> None:
        self.commands.append(command)
        if self.refuses:
            raise IposError(self.refuses)
        self.starts, self.alive = self.starts + 1, True

    def is_alive(self) -> bool:
        return self.alive

    def ending(self) -> str:
        return "its command ended with status 7"

    def end(self, *, at_once: bool) -> None:
        self.asked.append(at_once)
        self.alive = self.stubborn and not at_once

    def memory(self) -> int:
        return 1 << 20

    def forget(self) -> None: ...


class Account:
    """An application, and a clock that goes on by tenths of a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.process = Process()
        monkeypatch.setattr(lifecycle, "process_of", lambda _: self.process)
        self.now_ms = 1_700_000_000_000
        self.app = Application(Record("web"), START, "s2", self.work)
        self.number = 0

    def work(self, run: Any) -> None:
        run()
        self.app.done()

    def choose(self, *, stops: bool = False) -> None:
        self.number += 1
        self.app.obey(Choice("web", "s2", self.number, stops), self.now_ms)
        if self.app.record.phase == Phase.STARTING:
            self.app.launch()

    def wait(self, seconds: float, sight: Sight = NOTHING) -> Phase:
        for _ in range(round(seconds * 10)):
            self.now_ms += 100
            self.app.follow(sight, self.now_ms)
        return self.app.record.phase

    def run(self) -> None:
        self.choose()
        assert self.wait(0.3, WELL) == Phase.RUNNING


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    return Account(monkeypatch)


def test_it_runs_when_it_is_well(account: Account) -> None:
    account.choose()
    assert account.wait(2) == Phase.STARTING
    assert account.wait(0.2, WELL) == Phase.RUNNING
    account.app.obey(Choice("web", "s2", account.number), account.now_ms)
    account.choose()
    assert account.wait(1, WELL) == Phase.RUNNING
    assert account.process.starts == 1


def test_one_choice_starts_it_once(account: Account) -> None:
    account.choose()
    account.process.alive = False
    assert account.wait(3) == Phase.NONE
    account.app.obey(Choice("web", "s2", account.number), account.now_ms)
    assert account.wait(1) == Phase.NONE


def test_what_ends_at_once_has_failed_and_may_be_tried_later_and_later(account: Account) -> None:
    for failures, wait_s in ((1, 1), (2, 2), (3, 4)):
        account.choose()
        account.process.alive = False
        assert account.wait(0.2) == Phase.FAILED
        assert account.app.record.why == (
            "service web could not be started on s2: its command ended with status 7; look at "
            f"/bin/shop, which is tried again for the next request after {wait_s} s"
        )
        assert account.app.record.failures == failures
        assert account.wait(wait_s - 0.3) == Phase.FAILED
        assert account.wait(0.6) == Phase.NONE
    account.run()
    assert (account.app.record.failures, account.app.record.why) == (0, "")


def test_a_failure_is_told_for_ten_minutes(account: Account) -> None:
    account.choose()
    account.process.alive = False
    account.wait(590)
    assert account.app.record.why
    account.wait(20)
    assert not account.app.record.why


def test_what_cannot_be_run_says_why(account: Account) -> None:
    account.process.refuses = "its cgroup cannot be made: Read-only file system"
    account.choose()
    assert account.wait(0.2) == Phase.FAILED
    assert "Read-only file system" in account.app.record.why


def test_what_is_not_well_in_time_is_killed(account: Account) -> None:
    account.choose()
    assert account.wait(4.8) == Phase.STARTING
    assert account.wait(0.4, Sight(well=False, trouble="it answered 500")) == Phase.FAILED
    assert account.process.asked == [True]
    assert "it was not ready after 5 s: it answered 500" in account.app.record.why


def test_an_idle_one_is_withdrawn_and_then_stopped(account: Account) -> None:
    account.run()
    assert account.wait(9.5, WELL) == Phase.RUNNING
    assert account.wait(1, WELL) == Phase.STOPPING
    assert not account.app.may_serve
    assert account.process.asked == []
    assert account.wait(2) == Phase.NONE
    assert account.process.asked == [False]


def test_use_and_connections_keep_it(account: Account) -> None:
    account.run()
    assert account.wait(20, Sight(well=True, connections=1)) == Phase.RUNNING
    used = Sight(well=True, used_ms=account.now_ms + 5_000)
    assert account.wait(14, used) == Phase.RUNNING
    assert account.wait(2, used) == Phase.STOPPING


def test_a_request_that_comes_before_its_end_keeps_it(account: Account) -> None:
    account.run()
    assert account.wait(10.2, WELL) == Phase.STOPPING
    assert account.wait(0.2, Sight(well=False, wanted=True)) == Phase.RUNNING
    assert account.process.asked == []


def test_what_does_not_end_is_killed(account: Account) -> None:
    account.run()
    account.process.stubborn = True
    assert account.wait(12, WELL) == Phase.STOPPING
    assert account.process.asked == [False]
    assert account.wait(11) == Phase.NONE
    assert account.process.asked[-1]


def test_one_too_many_waits_for_its_connections(account: Account) -> None:
    account.run()
    account.choose(stops=True)
    assert account.wait(60, Sight(well=True, connections=1)) == Phase.STOPPING
    assert account.process.asked == []
    assert account.wait(1) == Phase.NONE


def test_one_that_ends_by_itself_may_be_started_at_once(account: Account) -> None:
    account.run()
    account.wait(9.5, Sight(well=True, connections=1))
    account.wait(2, Sight(well=True, connections=1))
    account.process.alive = False
    assert account.wait(0.3) == Phase.NONE
    account.run()
    account.process.alive = False
    assert account.wait(0.3) == Phase.FAILED, "not if it has run for moments only"


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> Account:
    """A program that was started for a call."""
    made = Account(monkeypatch)
    made.app.obey(Choice("worker:20000", "s2", 1, call="s1.7"), made.now_ms, ["--size=3"])
    made.app.launch()
    return made


WITHDRAWN = Sight(well=True, connections=3, withdrawn=True)


def test_a_spawned_program_gets_its_arguments_behind_the_command(spawned: Account) -> None:
    assert spawned.process.commands == [["/bin/shop", "--size=3"]]
    assert spawned.app.said(wanted=False, used_s=0).call == "s1.7"


@pytest.mark.parametrize("seconds", [3, 30])
def test_a_spawned_program_that_ends_is_no_failure(spawned: Account, seconds: int) -> None:
    """However soon: it is not started again, and says for a minute how it has ended."""
    assert spawned.wait(seconds, Sight(well=True, connections=1)) == Phase.RUNNING
    spawned.process.alive = False
    assert spawned.wait(0.3, NOTHING) == Phase.NONE
    assert spawned.app.record.why == "its command ended with status 7"
    assert spawned.wait(59) == Phase.NONE
    assert spawned.app.record.call == "s1.7"
    assert spawned.wait(2) == Phase.NONE
    assert spawned.app.record == Record(
        "web", phase=Phase.NONE, since_ms=spawned.app.record.since_ms
    )
    assert spawned.app.record.obeyed == 0


def test_a_spawned_program_that_cannot_be_started_says_why(spawned: Account) -> None:
    spawned.process.alive = False
    assert spawned.wait(0.3) == Phase.FAILED
    assert spawned.app.record.why == "its command ended with status 7"
    assert spawned.wait(50) == Phase.FAILED, "so that it is not tried here again for this call"
    assert spawned.wait(15) == Phase.NONE


def test_a_spawned_program_ends_with_its_call_whatever_its_connections(spawned: Account) -> None:
    assert spawned.wait(0.3, WELL) == Phase.RUNNING
    assert spawned.wait(0.3, WITHDRAWN) == Phase.STOPPING
    assert spawned.wait(2, WITHDRAWN) == Phase.NONE
    assert spawned.process.asked == [False], "it is asked, and not killed"


def test_a_call_that_is_over_before_its_program_runs_ends_that(spawned: Account) -> None:
    assert spawned.wait(0.2, Sight(well=False, withdrawn=True)) == Phase.STOPPING
    assert spawned.wait(2, Sight(well=False, withdrawn=True)) == Phase.NONE


def test_a_spawned_program_that_is_idle_is_stopped(spawned: Account) -> None:
    assert spawned.wait(9, WELL) == Phase.RUNNING
    assert spawned.wait(4, WELL) == Phase.NONE
    assert spawned.app.record.why == "it had no connection for 10 s"


def test_one_whose_place_has_gone_is_killed(spawned: Account) -> None:
    assert spawned.wait(0.3, WELL) == Phase.RUNNING
    spawned.app.abandon()
    assert spawned.process.asked == [True]
