# SPDX-License-Identifier: Apache-2.0
"""Who should hold an address: one answer for all, spread, and no change without a cause."""

from collections import Counter
from dataclasses import replace

import msgspec

from ipos.abi.rows import ServerState
from ipos.agent.heartbeat.member_faults import FRONT_DOWN_NS, OPENING_NS, Fault, Faults
from ipos.agent.heartbeat.message import Leaving
from ipos.agent.holders.choice import Server, choose, rank, servers_of
from tests.agent.made_up_farm import MS, NOW_NS, back, datagram, front, members, state

A = 0xCB007101
FARM = [Server(number, f"s{number}", lists=(A + number - 1,)) for number in range(1, 9)]


def without(*numbers: int, servers: list[Server] = FARM) -> list[Server]:
    """Those servers are down."""
    return [
        replace(one, why="it is down", takes=False, down=True) if one.number in numbers else one
        for one in servers
    ]


def test_an_address_is_its_own_servers() -> None:
    for server in FARM:
        assert choose(next(iter(server.lists)), FARM) is server


def test_the_addresses_of_a_dead_server_spread_over_the_others() -> None:
    mine = tuple(range(A + 100, A + 900))
    farm = [replace(FARM[0], lists=mine), *FARM[1:]]
    dead = without(1, servers=farm)
    taken = Counter(found.number for one in mine if (found := choose(one, dead)))
    assert set(taken) == set(range(2, 9))
    assert max(taken.values()) < 2 * 800 / 7
    fewer = without(1, 5, servers=farm)
    moved = [one for one in mine if choose(one, dead) != choose(one, fewer)]
    assert {choose(one, dead) for one in moved} == {farm[4]}


def test_who_holds_it_already_keeps_it() -> None:
    dead = without(1)
    first = choose(A, dead)
    assert first is not None
    other = next(one for one in dead[1:] if one is not first)
    held = [replace(one, holds=(A,)) if one is other else one for one in dead]
    found = choose(A, held)
    assert found is not None
    assert found.number == other.number
    gone = without(other.number, servers=held)
    assert choose(A, gone) == first


def test_turns_are_all_different() -> None:
    dead = without(1)
    assert sorted(rank(A, number, dead) for number in range(2, 9)) == list(range(7))
    first = choose(A, dead)
    assert first is not None
    assert rank(A, first.number, dead) == 0


def test_nobody_is_chosen_where_nobody_can() -> None:
    assert choose(A, without(*range(1, 9))) is None
    drained = [replace(one, takes=False) for one in FARM]
    assert choose(A, without(1, servers=drained)) is None, "who is drained takes nothing"
    found = choose(A + 1, drained)
    assert found is not None
    assert found.number == 2, "and keeps its own"


def known(**of_s2: object) -> dict[str, Server]:
    """What s1 knows a moment after all have spoken."""
    farm = members()
    farm.hear_myself(state(1, holds=[int(front(1))]), NOW_NS)
    for number in (2, 3):
        said = of_s2 if number == 2 else {}
        raw = datagram(number, **{"holds": [int(front(number))], **said})
        assert farm.receive(raw, int(back(number)), NOW_NS, 10**12) or True
        member = farm.by_ip[back(number)]
        member.state = state(number, **{"holds": [int(front(number))], **said})
        member.heard_ns = NOW_NS
    return {one.name: one for one in servers_of(farm, NOW_NS)}


def test_what_states_say_of_addresses() -> None:
    found = known(holds=[7, 8], claims=[9])
    assert found["s2"] == Server(int(back(2)), "s2", [int(front(2))], [7, 8], [9], takes=True)
    assert known(state=int(ServerState.DRAIN))["s2"].takes is False
    assert known(state=int(ServerState.DRAIN))["s2"].why == ""
    empty = Leaving(1, 0, 2, 3, 0, {}, gives=True)
    drain = int(ServerState.DRAIN)
    assert known(state=drain, leaving=empty)["s2"].why == "s2 is drained"
    busy = msgspec.structs.replace(empty, left={"busy": 1}, gives=False)
    assert known(state=drain, leaving=busy)["s2"].why == ""
    assert known(leaving=empty)["s2"].why == "", "the order was undone"
    assert known(state=int(ServerState.MAINT))["s2"].why == "s2 is in maintenance"
    old = known(holds=None)["s2"]
    assert old.is_holding(int(front(2))), "its kernel answers, as long as it is up"
    assert not old.takes


def test_silence_is_doubt_and_then_death() -> None:
    farm = members()
    farm.hear_myself(state(1, holds=[]), NOW_NS)
    member = farm.by_ip[back(2)]
    member.state, member.heard_ns = state(2, holds=[int(front(2))]), NOW_NS

    def s2(after_ms: int) -> Server:
        return next(one for one in servers_of(farm, NOW_NS + after_ms * MS) if one.name == "s2")

    assert (s2(249).doubtful, s2(249).takes) == (False, True)
    assert (s2(250).doubtful, s2(250).takes) == (True, True), "who comes next asks on front"
    assert (s2(500).doubtful, s2(500).takes, s2(500).why) == (True, False, "")
    assert s2(500).is_holding(int(front(2)))
    assert (s2(900).down, s2(900).why) == (True, "s2 is down")
    assert not s2(900).doubtful, "time changes nothing any more"
    assert not s2(900).is_holding(int(front(2)))
    member.sign_ns = NOW_NS + 900 * MS
    assert (s2(950).doubtful, s2(950).why) == (False, ""), "its data plane answers"


def test_a_front_that_is_out_for_long_moves_its_addresses() -> None:
    farm = members()
    faults = Faults(farm, NOW_NS)
    farm.hear_myself(state(1, holds=[]), NOW_NS)
    for now_ns, why in ((OPENING_NS, ""), (OPENING_NS + FRONT_DOWN_NS, "its front interface has")):
        for number in (2, 3):
            member = farm.by_ip[back(number)]
            fault = int(Fault.FRONT_CARRIER) if number == 2 else 0
            member.state = state(number, holds=[], fault=fault)
            member.heard_ns = NOW_NS + now_ns
        faults.look(NOW_NS + now_ns, Fault.NONE)
        found = {one.name: one for one in servers_of(farm, NOW_NS + now_ns)}
        assert why in found["s2"].why
        assert bool(found["s2"].why) is bool(why)
        assert not found["s2"].takes
