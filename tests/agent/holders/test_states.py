# SPDX-License-Identifier: Apache-2.0
"""Every transition of an address, and farms in which servers die, freeze and are cut off."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from ipos.agent.holders.actions import Action, Kind
from ipos.agent.holders.choice import Server, choose
from ipos.agent.holders.states import BACK_OFF_NS, LEARN_NS, PROBE_NS, SLEPT_NS, State
from tests.agent.holders.checked import Checked

MS = 1_000_000
BEAT_NS = 100 * MS
T0 = 10**12
A1, A2 = 0xCB007101, 0xCB007102


def server(number: int, *lists: int, **fields: object) -> Server:
    return Server(number, f"s{number}", lists or (A1 + number - 1,), **fields)  # type: ignore[arg-type]


DEAD = server(1, why="s1 is down", takes=False, down=True)
SILENT = server(1, holds=(A1,), takes=False, doubtful=True)
ME = server(2)


class One:
    """The addresses of s2, looked at every tenth of a second."""

    def __init__(self, held: Iterable[int] = (A2,)) -> None:
        self.addresses = Checked(2, T0, list(held))
        self.now_ns = T0
        self.told: list[Action] = []

    def look(
        self, *servers: Server, times: int = 1, answered: Iterable[int] = (), settled: bool = True
    ) -> State:
        for _ in range(times):
            self.now_ns += BEAT_NS
            self.told += self.addresses.look(servers, set(answered), self.now_ns, settled=settled)
            answered = ()
        return self.addresses.state(A1)

    def count(self, kind: Kind, address: int = A1) -> int:
        return sum(one.kind is kind and one.address == address for one in self.told)


def test_it_takes_the_address_of_a_dead_server() -> None:
    one = One()
    assert one.look(server(1, holds=(A1,)), ME) is State.AWAY
    assert one.look(DEAD, ME) is State.PROBES
    assert one.addresses.claims == [A1]
    assert one.look(DEAD, ME) is State.PROBES
    assert one.count(Kind.ASK) == 2, "a frame may be lost"
    assert one.look(DEAD, ME) is State.HOLDS
    assert (one.count(Kind.TAKEN), one.count(Kind.ANNOUNCE)) == (1, 1)
    assert one.addresses.holds == [A2, A1]
    assert one.addresses.claims == []
    one.look(DEAD, ME, times=25)
    assert one.count(Kind.ANNOUNCE) == 5
    assert one.count(Kind.ASK) == 4, "and it looks whether the server answers after all"


def test_it_asks_while_a_server_is_silent_and_takes_at_once() -> None:
    one = One()
    assert one.look(SILENT, ME, times=4) is State.PROBES
    assert one.addresses.claims == [], "nobody is told: it may live"
    assert one.look(DEAD, ME) is State.HOLDS
    again = One()
    assert again.look(SILENT, ME, times=3) is State.PROBES
    assert again.look(server(1, holds=(A1,)), ME) is State.AWAY


def test_it_takes_nothing_that_a_neighbour_answers_for() -> None:
    one = One()
    one.look(DEAD, ME)
    assert one.look(DEAD, ME, answered=[A1]) is State.AWAY
    assert one.count(Kind.ANSWERED) == 1
    asked = one.count(Kind.ASK)
    assert one.look(DEAD, ME, times=BACK_OFF_NS // BEAT_NS - 1) is State.AWAY
    assert one.count(Kind.ASK) == asked
    one.look(DEAD, ME, times=13)
    assert one.count(Kind.ASK) > asked, "but asks again"


def test_it_claims_before_it_takes_from_one_who_holds() -> None:
    one = One(held=())
    stand_in = server(1, holds=(A1, A2))
    for _ in range(10):
        one.look(stand_in, ME)
        assert one.addresses.state(A2) is not State.PROBES
    assert one.addresses.state(A2) is State.CLAIMS
    assert one.addresses.claims == [A2]
    one.look(server(1, holds=(A1,)), ME, times=3)
    assert one.addresses.state(A2) is State.HOLDS


def test_it_gives_up_when_the_chosen_one_claims_and_not_before() -> None:
    one = One(held=(A1, A2))
    assert one.look(server(1), ME, times=5) is State.HOLDS, "nobody is left without"
    assert one.look(server(1, claims=(A1,)), ME) is State.AWAY
    assert one.count(Kind.GIVEN_UP) == 1
    two = One(held=(A1, A2))
    assert two.look(server(1, holds=(A1,)), ME) is State.AWAY, "both hold it"


def test_in_maintenance_it_hands_over() -> None:
    one = One()
    out = server(2, why="s2 is in maintenance", takes=False)
    one.look(server(1, holds=(A1,)), out, times=3)
    assert one.addresses.holds == [A2]
    one.look(server(1, holds=(A1,), claims=(A2,)), out)
    assert one.addresses.holds == []


def test_it_leaves_another_servers_address_to_whoever_answers_and_defends_its_own() -> None:
    one = One(held=(A1, A2))
    assert one.look(DEAD, ME, answered=[A1, A2]) is State.AWAY
    assert one.addresses.holds == [A2]
    assert one.count(Kind.ANNOUNCE, A2) == 1


def test_who_did_not_run_for_a_while_asks_first() -> None:
    one = One(held=(A2,))
    one.look(DEAD, ME)
    one.now_ns += SLEPT_NS
    one.look(DEAD, ME)
    assert one.addresses.holds == []
    asked = one.count(Kind.ASK, A2)
    one.look(DEAD, ME, times=LEARN_NS // BEAT_NS - 1)
    assert one.count(Kind.ASK, A2) == asked, "it listens what the others say"
    assert A2 not in one.addresses.claims
    one.look(DEAD, ME, times=4)
    assert A2 in one.addresses.holds


def test_after_a_start_it_waits_for_words_and_for_others_addresses_until_it_is_settled() -> None:
    one = One(held=())
    one.look(DEAD, ME, times=2, settled=False)
    assert one.count(Kind.ASK, A2) == 0
    one.look(DEAD, ME, times=10, settled=False)
    assert one.addresses.holds == [A2]
    one.look(DEAD, ME, times=3)
    assert sorted(one.addresses.holds) == [A1, A2]


def test_an_address_that_nobody_lists_any_more_is_given_up() -> None:
    one = One(held=(A1, A2))
    one.look(ME)
    assert one.addresses.holds == [A2]
    assert one.count(Kind.GIVEN_UP) == 1


def test_the_next_one_takes_what_the_chosen_one_does_not_know() -> None:
    others = [server(number) for number in range(3, 6)]
    one = One()
    turn = sum(choose(A1, [DEAD, ME, other]) is other for other in others)
    assert turn, "another one is chosen"
    one.look(DEAD, ME, *others, times=10 * turn)
    assert one.addresses.state(A1) is State.AWAY
    one.look(DEAD, ME, *others, times=5)
    assert one.addresses.state(A1) is State.HOLDS


# ---- farms ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Node:
    """One server. `heard` is what it last heard of each other, and when."""

    number: int
    addresses: Checked
    heard: dict[int, tuple[int, Server]] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)
    power: bool = True
    maint: bool = False
    says: Server | None = None


class Farm:
    """Servers with one address each. `back` and `front` say in which part of each LAN they are."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.now_ns = T0
        self.nodes = [Node(number, Checked(number, T0, ())) for number in range(1, count + 1)]
        self.back = dict.fromkeys(range(1, count + 1), 0)
        self.front = dict(self.back)
        self.duels_ns: dict[int, int] = {}
        self.longest_ns = 0
        for node in self.nodes:
            for other in self.nodes:
                node.heard[other.number] = (T0, server(other.number))

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.beat()

    def beat(self) -> None:
        self.now_ns += BEAT_NS
        live = [node for node in self.nodes if node.power]
        for node in live:
            node.says = server(
                node.number, holds=node.addresses.holds, claims=node.addresses.claims,
                takes=not node.maint, why=f"s{node.number} is in maintenance" * node.maint,
            )  # fmt: skip
        for node in live:
            for other in live:
                same = self.back[node.number] == self.back[other.number]
                if other.says is not None and (same or node is other):
                    node.heard[other.number] = (self.now_ns, other.says)
        for node in self.random.sample(live, len(live)):
            self.step(node)
        self.judge(live)

    def step(self, node: Node) -> None:
        known = [self.known(*said) for said in node.heard.values()]
        answered, node.answered = node.answered, set()
        for one in node.addresses.look(known, answered, self.now_ns, settled=True):
            near = [
                other for other in self.nodes
                if other.power and other is not node
                and self.front[other.number] == self.front[node.number]
            ]  # fmt: skip
            if one.kind is Kind.ASK and any(one.address in each.addresses.holds for each in near):
                node.answered.add(one.address)
            elif one.kind is Kind.ANNOUNCE:
                for each in near:
                    each.answered.add(one.address)

    def known(self, when_ns: int, said: Server) -> Server:
        age_ns = self.now_ns - when_ns
        if age_ns >= 800 * MS:
            return Server(said.number, said.name, said.lists, said.holds, said.claims,
                          why=f"{said.name} is down", takes=False, down=True)  # fmt: skip
        if age_ns >= 500 * MS:
            return Server(said.number, said.name, said.lists, said.holds, said.claims, said.why,
                          takes=False, doubtful=True)  # fmt: skip
        return said

    def judge(self, live: list[Node]) -> None:
        """How long two servers on one part of front have answered for one address."""
        for address in range(A1, A1 + len(self.nodes)):
            parts = [self.front[node.number] for node in live if address in node.addresses.holds]
            twice = len(parts) > len(set(parts))
            self.duels_ns[address] = self.duels_ns.get(address, 0) + BEAT_NS if twice else 0
            self.longest_ns = max(self.longest_ns, self.duels_ns[address])

    def holders(self) -> list[list[int]]:
        """Of each address."""
        return [
            [node.number for node in self.nodes if node.power and address in node.addresses.holds]
            for address in range(A1, A1 + len(self.nodes))
        ]

    def own(self) -> list[list[int]]:
        return [[node.number] for node in self.nodes]


def test_a_farm_starts_with_everybodys_own() -> None:
    farm = Farm(5)
    farm.run(1)
    assert farm.holders() == farm.own()


@pytest.mark.parametrize("frozen_s", [0.7, 3, 30])
def test_a_frozen_server_loses_its_address_and_gets_it_back_with_no_duel(frozen_s: float) -> None:
    farm = Farm(4)
    farm.run(2)
    farm.nodes[0].power = False
    farm.run(frozen_s)
    if frozen_s > 1.2:
        assert len(farm.holders()[0]) == 1
    farm.nodes[0].power = True
    farm.run(3)
    assert farm.holders() == farm.own()
    assert farm.longest_ns == 0


def test_a_dead_servers_address_is_held_a_second_later() -> None:
    farm = Farm(4)
    farm.run(2)
    farm.nodes[0].power = False
    farm.run(1)
    assert len(farm.holders()[0]) == 1


def test_halves_of_back_do_not_both_answer_and_heal() -> None:
    farm = Farm(6)
    farm.run(2)
    farm.back |= {1: 1, 2: 1, 3: 1}
    farm.run(20)
    assert farm.holders() == farm.own()
    farm.back |= {1: 0, 2: 0, 3: 0}
    farm.run(5)
    assert farm.holders() == farm.own()
    assert farm.longest_ns == 0


def test_a_server_that_dies_while_back_is_cut_has_one_stand_in() -> None:
    for seed in range(20):
        farm = Farm(6, seed)
        farm.run(2)
        farm.back |= {1: 1, 2: 1, 3: 1}
        farm.nodes[0].power = False
        farm.run(10)
        assert len(farm.holders()[0]) == 1
        assert farm.longest_ns <= 1_000 * MS
        farm.back |= {1: 0, 2: 0, 3: 0}
        farm.run(5)
        assert len(farm.holders()[0]) == 1


def test_maintenance_hands_over_and_takes_back() -> None:
    farm = Farm(3)
    farm.run(2)
    farm.nodes[0].maint = True
    farm.run(1)
    (holder,) = farm.holders()[0]
    assert holder != 1
    farm.nodes[0].maint = False
    farm.run(1)
    assert farm.holders() == farm.own()
    assert farm.longest_ns == 0


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_each_address_has_one_holder_in_the_end(seed: int) -> None:
    farm = Farm(5, seed)
    dice = random.Random(seed)
    farm.run(2)
    for _ in range(30):
        node = dice.choice(farm.nodes)
        what = dice.randrange(4)
        if what == 0:
            node.power = not node.power
        elif what == 1:
            node.maint = not node.maint
        elif what == 2:
            farm.back[node.number] = dice.randrange(2)
        else:
            farm.front[node.number] = dice.randrange(2)
        farm.run(dice.uniform(0.1, 4))
    farm.back, farm.front = dict.fromkeys(farm.back, 0), dict.fromkeys(farm.front, 0)
    farm.longest_ns, farm.duels_ns = 0, {}
    farm.run(6)
    live = [node for node in farm.nodes if node.power]
    if any(not node.maint for node in live):
        assert all(len(holders) == 1 for holders in farm.holders())
        for node in live:
            if not node.maint:
                assert farm.holders()[node.number - 1] == [node.number]
    assert farm.longest_ns <= 1_000 * MS
    for node in farm.nodes:
        node.power, node.maint = True, False
    farm.run(6)
    assert farm.holders() == farm.own()


def test_a_probe_is_shorter_than_doubt() -> None:
    assert PROBE_NS < 300 * MS


def test_a_farm_in_which_nothing_happens_rests() -> None:
    one = One()
    others = [server(1, holds=(A1,)), ME, server(3, holds=(A1 + 2,))]
    one.look(*others, times=40)
    before = len(Checked.rested)
    one.look(*others, times=10)
    assert len(Checked.rested) == before + 10
    one.look(DEAD, ME, times=40)
    assert one.addresses.state(A1) is State.HOLDS
    before = len(Checked.rested)
    one.look(DEAD, ME, times=20)
    asked = 20 * BEAT_NS // (1_000 * MS)
    assert len(Checked.rested) >= before + 20 - 2 * asked, "but it asks once a second"
