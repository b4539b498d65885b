# SPDX-License-Identifier: Apache-2.0
"""Which server starts an application, and how often."""

import msgspec

from ipos.abi import rows
from ipos.agent.heartbeat.membership import Members
from ipos.agent.heartbeat.message import Choice, Starting, State
from ipos.agent.on_demand import placement
from ipos.agent.on_demand.placement import Decider
from ipos.config.schema import Service
from ipos.config.starting import Start
from ipos.instance.record import Phase
from tests.agent.made_up_farm import MS, NOW_NS, WALL_MS, back, datagram, members, state

WEB = Service(name="web", port=80, start=Start(command=["/bin/shop"], idle_stop_s=10, load=100))
S = 1_000 * MS


class Farm:
    """s1's account of three servers, in which each one carries out what it is told."""

    def __init__(self) -> None:
        self.farm: Members = members()
        self.now_ns, self.sequence = NOW_NS, 1
        self.said: dict[int, State] = {
            number: state(number, services=[], cpu_permille=0, memory_available=1 << 30)
            for number in (1, 2, 3)
        }
        self.decider = Decider()
        self.choices: list[Choice] = []

    def change(self, number: int, **changes: object) -> None:
        self.said[number] = msgspec.structs.replace(self.said[number], **changes)

    def says(self, number: int, **changes: object) -> None:
        known = placement.said(self.said[number], "web")
        self.change(number, starting=[msgspec.structs.replace(known, **changes)])

    def beat(self, *, deaf: bool = False) -> list[Choice]:
        """All speak, s1 decides, and the chosen one begins, unless it hears nothing."""
        self.now_ns += 100 * MS
        self.sequence += 1
        self.change(1, choices=self.choices)
        self.farm.hear_myself(
            msgspec.structs.replace(self.said[1], sequence=self.sequence), self.now_ns
        )
        for number in (2, 3):
            told = {
                name: getattr(self.said[number], name)
                for name in ("services", "starting", "choices", "state", "cpu_permille",
                             "memory_available")
            }  # fmt: skip
            sent = datagram(number, sequence=self.sequence, **told)
            assert self.farm.receive(sent, int(back(number)), self.now_ns, WALL_MS)
        self.choices = self.decider.choose([WEB], self.farm, self.now_ns, WALL_MS)
        for choice in self.choices if not deaf else ():
            number = int(choice.server[1:])
            if placement.said(self.said[number], "web").obeyed < choice.number:
                phase = Phase.STOPPING if choice.stops else Phase.STARTING
                self.says(number, obeyed=choice.number, phase=phase)
        return self.choices

    def starts(self) -> rows.Starts:
        return placement.starts(WEB, self.farm, self.now_ns)


def test_nothing_is_started_that_nobody_wants() -> None:
    assert not Farm().beat()


def test_one_server_starts_it_and_no_other_while_it_does() -> None:
    farm = Farm()
    farm.says(3, wanted=True)
    (choice,) = farm.beat()
    assert not any(farm.beat() for _ in range(50))
    assert farm.starts() == rows.Starts.WAIT
    number = int(choice.server[1:])
    farm.says(number, phase=Phase.RUNNING)
    farm.change(number, services=["web"])
    assert not any(farm.beat() for _ in range(50))


def test_the_best_has_free_cpu_and_then_free_memory() -> None:
    farm = Farm()
    farm.says(1, wanted=True, memory=1 << 31)
    for number, permille, memory in ((1, 0, 1), (2, 250, 8), (3, 210, 4)):
        farm.change(number, cpu_permille=permille, memory_available=memory << 30)
    assert [one.server for one in farm.beat()] == ["s2"], "it took 2 GiB last time"
    farm = Farm()
    farm.says(1, wanted=True)
    farm.change(2, cpu_permille=900)
    farm.change(1, cpu_permille=150)
    assert [one.server for one in farm.beat()] == ["s3"]


def test_where_none_has_the_memory_the_one_with_the_most_starts_it() -> None:
    farm = Farm()
    farm.says(1, wanted=True, memory=1 << 40)
    farm.change(2, memory_available=3 << 30, cpu_permille=900)
    assert [one.server for one in farm.beat()] == ["s2"]


def test_another_server_is_tried_after_a_failure_until_none_is_left() -> None:
    farm = Farm()
    farm.says(1, wanted=True)
    tried = []
    for _ in range(3):
        (choice,) = farm.beat()
        tried.append(choice.server)
        farm.says(int(choice.server[1:]), phase=Phase.FAILED)
    assert sorted(tried) == ["s1", "s2", "s3"]
    assert not farm.beat()
    assert farm.starts() == rows.Starts.FAILED
    farm.says(2, phase=Phase.NONE)
    assert [one.server for one in farm.beat()] == ["s2"]


def test_a_server_that_drains_starts_nothing() -> None:
    farm = Farm()
    farm.says(1, wanted=True)
    for number in (1, 2):
        farm.change(number, state=int(rows.ServerState.DRAIN))
    assert [one.server for one in farm.beat()] == ["s3"]


def test_a_choice_that_is_not_heard_of_is_withdrawn_and_made_anew() -> None:
    farm = Farm()
    farm.says(1, wanted=True)
    (first,) = farm.beat(deaf=True)
    made = {one for _ in range(19) for one in farm.beat(deaf=True)}
    assert made == {first}
    later = {one.server for _ in range(30) for one in farm.beat(deaf=True)}
    assert later - {first.server}
    assert max(len(farm.beat(deaf=True)) for _ in range(10)) <= 1


def test_a_new_decider_waits_for_the_choice_of_the_one_before() -> None:
    farm = Farm()
    farm.says(1, wanted=True)
    open_choice = Choice("web", "s3", WALL_MS)
    farm.change(2, choices=[open_choice])
    assert not any(farm.beat() for _ in range(5))
    farm.says(3, obeyed=WALL_MS)
    assert farm.beat()


def test_the_first_that_is_heard_decides() -> None:
    farm = Farm()
    farm.beat()
    deciding = placement.decider(farm.farm, farm.now_ns)
    assert deciding is farm.farm.myself
    orders = placement.orders(farm.farm, "s1", farm.now_ns)
    assert orders == []


def test_more_start_when_all_have_too_much() -> None:
    farm = Farm()
    farm.change(2, services=["web"], starting=[Starting("web", Phase.RUNNING, connections=101)])
    (choice,) = farm.beat()
    assert choice.server != "s2"
    number = int(choice.server[1:])
    farm.says(number, phase=Phase.RUNNING, connections=100)
    farm.change(number, services=["web"])
    assert not any(farm.beat() for _ in range(100))


def test_the_next_one_starts_when_connections_had_time_to_spread() -> None:
    farm = Farm()
    farm.change(2, services=["web"], starting=[Starting("web", Phase.RUNNING, connections=500)])
    (choice,) = farm.beat()
    number = int(choice.server[1:])
    farm.says(number, phase=Phase.RUNNING, connections=500)
    farm.change(number, services=["web"])
    assert not any(farm.beat() for _ in range(45))
    assert {one.server for _ in range(10) for one in farm.beat()} == {"s1", "s3"} - {choice.server}


def test_one_too_many_stops_when_it_was_so_for_long() -> None:
    farm = Farm()
    for number, count in ((2, 40), (3, 20)):
        told = [Starting("web", Phase.RUNNING, connections=count)]
        farm.change(number, services=["web"], starting=told)
    assert not any(farm.beat() for _ in range(100))
    (choice,) = farm.beat()
    assert (choice.server, choice.stops) == ("s3", True)
    farm.change(3, services=[])
    assert not any(farm.beat() for _ in range(200)), "the last one is not too many"
