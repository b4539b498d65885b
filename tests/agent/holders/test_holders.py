# SPDX-License-Identifier: Apache-2.0
"""Farms in which servers die, freeze and are cut off: who holds their addresses."""

import random
from dataclasses import dataclass, field

import pytest

from ipos.agent.heartbeat.member import DOUBT_NS, DOWN_NS, STALE_NS
from ipos.agent.holders.actions import Kind
from ipos.agent.holders.choice import Server
from tests.agent.holders.checked import Checked
from tests.agent.holders.test_states import A1, BEAT_NS, MS, T0, server


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
        hears = any(
            said.number != node.number and self.now_ns - when_ns < STALE_NS
            for when_ns, said in node.heard.values()
        )
        cut_off = self.front[node.number] != 0 and not hears  # routers are in part 0
        for one in node.addresses.look(known, answered, self.now_ns, settled=True, cut_off=cut_off):
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
        if age_ns >= DOWN_NS:
            return Server(said.number, said.name, said.lists, said.holds, said.claims,
                          why=f"{said.name} is down", takes=False, down=True)  # fmt: skip
        if age_ns >= DOUBT_NS:
            return Server(said.number, said.name, said.lists, said.holds, said.claims, said.why,
                          takes=age_ns < STALE_NS, doubtful=True)  # fmt: skip
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


@pytest.mark.parametrize("away_s", [0.7, 3, 30])
def test_a_server_without_both_cables_comes_back_with_no_duel(away_s: float) -> None:
    farm = Farm(4)
    farm.run(2)
    farm.back[1] = farm.front[1] = 1
    farm.run(away_s)
    assert farm.holders()[0] != [1] or away_s < 1
    assert not any(1 in held for held in farm.holders()[1:])
    farm.back[1] = farm.front[1] = 0
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
