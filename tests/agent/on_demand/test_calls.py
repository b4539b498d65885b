# SPDX-License-Identifier: Apache-2.0
"""Calls for spawned programs, from the caller to the end, in a made-up farm of three servers."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ipos.abi import rows
from ipos.agent.candidates import syns
from ipos.agent.heartbeat.member import Age
from ipos.agent.heartbeat.message import Call, Choice, Starting, State
from ipos.agent.on_demand import calls, placement
from ipos.agent.on_demand.calls import Calls, Held, NoSuchCall, PortsTaken, Progress
from ipos.agent.on_demand.placement import Decider
from ipos.config.schema import Config
from ipos.config.slots import Slot, with_slots
from ipos.config.spawning import Spawn
from ipos.errors import IposError
from ipos.instance.record import Phase
from tests.agent.made_up_farm import MS, NOW_NS, WALL_MS, back, config, datagram, members, state

SPAWN = Spawn(name="worker", command=["/bin/w"], ports="20000-20002", args=["--size=*"])
CONFIG: Config = with_slots(config(spawn=[SPAWN]))
SLOTS = [one for one in CONFIG.service if isinstance(one, Slot)]
ME, SHELL = 815, 4711


class Farm:
    """s1's account of three servers, each of which carries out what it is told."""

    def __init__(self, tmp_path: Path) -> None:
        self.file = tmp_path / "calls.json"
        self.farm = members()
        self.sequence, self.now_ns, self.wall_ms = 1, NOW_NS, WALL_MS
        self.alive = {ME: 100, SHELL: 200}
        self.said: dict[int, State] = {
            n: state(n, services=[], cpu_permille=100 * n) for n in (1, 2, 3)
        }
        self.silent: set[int] = set()
        self.failing: set[int] = set()
        self.decider = Decider()
        self.choices: list[Choice] = []
        self.starts: list[tuple[str, str]] = []
        self.calls = self.new()
        self.beat()

    def new(self) -> Calls:
        return Calls("s1", self.file, lambda pid: self.alive.get(pid, 0), print)

    def ask(self, args: list[str] | None = None, pid: int = ME, program: str = "worker") -> Held:
        return self.calls.ask(
            CONFIG, self.farm, program, args or [], pid, self.now_ns, self.wall_ms
        )

    def says(self, number: int, service: str, **changes: Any) -> None:
        known = placement.said(self.said[number], service)
        others = [one for one in self.said[number].starting if one.service != service]
        fresh = msgspec.structs.replace(known, **changes)
        runs = fresh.phase == Phase.RUNNING
        served = [one for one in self.said[number].services if one != service]
        self.said[number] = msgspec.structs.replace(
            self.said[number],
            starting=[*others, fresh],
            services=[*served, service] if runs else served,
        )

    def beat(self, count: int = 1) -> None:
        """All speak; s1 decides; those that are told start, and run at the beat after that."""
        for _ in range(count):
            self.sequence += 1
            self.now_ns += 100 * MS
            self.wall_ms += 100
            for number, said in self.said.items():
                told = {"starting": said.starting, "services": said.services, "calls": said.calls,
                        "cpu_permille": said.cpu_permille, "choices": said.choices}  # fmt: skip
                if number == 1:
                    told |= {"calls": self.calls.said(), "choices": self.choices}
                    own = state(1, sequence=self.sequence, **told)
                    self.farm.hear_myself(own, self.now_ns)
                elif number not in self.silent:
                    sent = datagram(number, sequence=self.sequence, **told)
                    assert self.farm.receive(sent, int(back(number)), self.now_ns, WALL_MS)
            self.calls.look(CONFIG, self.farm, self.now_ns, self.wall_ms)
            self._go_on()
            self.choices = self.decider.choose(SLOTS, self.farm, self.now_ns, self.wall_ms)
            for choice in self.choices:
                self._obey(choice)

    def _go_on(self) -> None:
        for number, said in self.said.items():
            for one in said.starting:
                if one.phase == Phase.STARTING and number in self.failing:
                    self.says(number, one.service, phase=Phase.FAILED, why="it is broken")
                elif one.phase == Phase.STARTING:
                    self.says(number, one.service, phase=Phase.RUNNING)

    def _obey(self, choice: Choice) -> None:
        number = int(choice.server[1:])
        if placement.said(self.said[number], choice.service).obeyed >= choice.number:
            return
        assert calls.args_of(choice.call, self.farm) is not None
        self.starts.append((choice.call, choice.server))
        self.says(
            number, choice.service, obeyed=choice.number, phase=Phase.STARTING, call=choice.call
        )


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return Farm(tmp_path)


def test_a_call_is_started_once_on_the_best_server_and_then_runs(farm: Farm) -> None:
    made = farm.ask(["--size=3"])
    assert farm.calls.said() == [Call(made.service, made.name, True, ["--size=3"])]
    farm.beat(5)
    assert (made.progress, made.server) == (Progress.RUNNING, "s1"), "s1 has the most CPU left"
    assert farm.calls.said() == [Call(made.service, made.name)], "no arguments any more"
    farm.beat(50)
    assert farm.starts == [(made.name, "s1")]


def test_each_call_has_a_program_of_its_own_as_long_as_there_are_ports(farm: Farm) -> None:
    made = [farm.ask() for _ in range(3)]
    with pytest.raises(IposError, match="all 3 ports of worker are in use"):
        farm.ask()
    farm.beat(5)
    assert len({one.service for one in made}) == 3
    assert [one.progress for one in made] == [Progress.RUNNING] * 3
    assert len(farm.starts) == 3


def test_a_port_whose_program_is_being_stopped_is_worth_waiting_for(farm: Farm) -> None:
    made = [farm.ask() for _ in range(3)]
    farm.beat(5)
    with pytest.raises(PortsTaken) as taken:
        farm.ask()
    assert not taken.value.are_leaving
    farm.calls.end(made[1].name, farm.wall_ms)
    for phase in (Phase.RUNNING, Phase.STOPPING, Phase.STOPPING):
        farm.says(1, made[1].service, phase=phase)
        with pytest.raises(PortsTaken) as taken:
            farm.ask()
        assert taken.value.are_leaving, phase
        farm.beat()
    farm.says(1, made[1].service, phase=Phase.NONE)
    farm.beat()
    assert farm.ask().service == made[1].service


@pytest.mark.parametrize(
    ("args", "pid", "program", "said"),
    [
        ([], ME, "shop", "no .*spawn.* is called shop; there is worker"),
        (["--fast"], ME, "worker", "takes no argument '--fast'"),
        ([], 99, "worker", "there is no process 99 here"),
    ],
)
def test_what_may_not_be_called_is_refused(
    farm: Farm, args: list[str], pid: int, program: str, said: str
) -> None:
    with pytest.raises(IposError, match=said):
        farm.ask(args, pid, program)
    assert farm.calls.said() == []


def test_a_server_that_cannot_start_it_is_followed_by_another(farm: Farm) -> None:
    farm.failing = {1}
    made = farm.ask()
    farm.beat(6)
    assert (made.progress, made.server) == (Progress.RUNNING, "s2")
    assert farm.starts == [(made.name, "s1"), (made.name, "s2")]


def test_what_no_server_can_start_says_why(farm: Farm) -> None:
    farm.failing = {1, 2, 3}
    made = farm.ask()
    farm.beat(12)
    assert made.progress is Progress.ENDED
    assert made.why == "on s1 it is broken; on s2 it is broken; on s3 it is broken"
    assert len(farm.starts) == 3
    assert farm.calls.said() == []
    farm.failing = set()
    again = [farm.ask() for _ in range(3)]
    farm.beat(6)
    assert {one.progress for one in again} == {Progress.RUNNING}, "its place can be used at once"


@pytest.mark.parametrize("ended", ["caller", "asked", "again"])
def test_it_is_over_with_its_caller_or_when_that_is_asked(farm: Farm, ended: str) -> None:
    made = farm.ask()
    farm.beat(5)
    assert not farm.calls.is_over(made.name, farm.farm, farm.now_ns, farm.wall_ms)
    if ended == "asked":
        farm.calls.end(made.name, farm.wall_ms)
        with pytest.raises(NoSuchCall, match="is no program that s1 has spawned"):
            farm.calls.end(made.name, farm.wall_ms)
        with pytest.raises(NoSuchCall, match="it is a call of s2"):
            farm.calls.end("s2.17", farm.wall_ms)
    else:  # a process of the same number may have been started since
        farm.alive[ME] = 0 if ended == "caller" else 101
    farm.beat()
    assert made.progress is Progress.ENDED
    assert farm.calls.said() == []
    assert farm.calls.is_over(made.name, farm.farm, farm.now_ns, farm.wall_ms)


def test_one_that_ends_by_itself_is_not_started_again(farm: Farm) -> None:
    made = farm.ask()
    farm.beat(5)
    farm.says(1, made.service, phase=Phase.NONE, why="its command ended with status 7")
    farm.beat(20)
    assert (made.progress, made.why) == (Progress.ENDED, "its command ended with status 7")
    assert len(farm.starts) == 1


def test_one_that_ends_before_anybody_has_seen_it_run_is_not_started_again(farm: Farm) -> None:
    made = farm.ask()
    farm.beat()
    assert farm.starts == [(made.name, "s1")]
    farm.says(1, made.service, phase=Phase.NONE, why="its command has ended")
    farm.beat(20)
    assert (made.progress, made.why) == (Progress.ENDED, "on s1 its command has ended")
    assert len(farm.starts) == 1


def test_a_server_that_is_lost_for_long_ends_what_runs_there(farm: Farm) -> None:
    farm.said[1] = msgspec.structs.replace(farm.said[1], cpu_permille=900)
    farm.beat()
    made = farm.ask()
    farm.beat(5)
    assert made.server == "s2"
    farm.silent = {2}
    farm.beat(100)
    assert (made.progress, bool(made.lost_ms)) == (Progress.RUNNING, True)
    farm.silent = set()
    farm.beat(2)
    assert (made.progress, made.lost_ms) == (Progress.RUNNING, 0), "only its agent was away"
    farm.silent = {2}
    farm.beat(calls.LOST_MS // 100 + 20)
    assert (made.progress, made.why) == (Progress.ENDED, "its server s2 is down")


def test_two_servers_that_take_one_service_get_one_each(farm: Farm) -> None:
    made = farm.ask()
    other = Call(made.service, "s2.1", True, [])
    farm.said[2] = msgspec.structs.replace(farm.said[2], calls=[other])
    farm.beat(8)
    assert farm.starts[0][0] == "s2.1", "the older one"
    assert made.service != other.service
    assert made.progress is Progress.RUNNING
    assert [name for name, _ in farm.starts] == ["s2.1", made.name]


def test_the_calls_of_another_server_are_over_when_it_says_so_or_is_lost(farm: Farm) -> None:
    def is_over(name: str) -> bool:
        return farm.calls.is_over(name, farm.farm, farm.now_ns, farm.wall_ms)

    farm.said[2] = msgspec.structs.replace(farm.said[2], calls=[Call("worker:20000", "s2.7")])
    farm.beat()
    assert not is_over("s2.7")
    assert is_over("s2.8")
    farm.silent = {2}
    farm.beat(50)
    assert farm.farm.others()[0].age(farm.now_ns) is Age.DOWN
    assert not is_over("s2.7"), "only its agent may be away"
    farm.beat(calls.LOST_MS // 100)
    assert is_over("s2.7")


def test_calls_outlive_the_agent(farm: Farm) -> None:
    before = farm.calls.copied()
    made = farm.ask(["--size=3"])
    farm.beat(5)
    farm.calls.save(before)
    farm.calls = farm.new()
    (again,) = farm.calls.listed()
    assert again == made
    farm.beat(3)
    assert again.progress is Progress.RUNNING


def test_a_slot_is_selected_by_its_syn_and_never_waits_for_a_request(farm: Farm) -> None:
    assert syns.select(CONFIG, SLOTS[0], farm.farm, farm.now_ns) is rows.Select.CONNECTION
    assert placement.starts(SLOTS[0], farm.farm, farm.now_ns) is rows.Starts.NOT
    assert Starting("worker:20000").call == ""
