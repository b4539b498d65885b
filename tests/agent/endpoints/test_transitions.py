# SPDX-License-Identifier: Apache-2.0
"""Every order of events between a giver and a taker, with agents that die at any step.

The two tables of transitions are explored together with what stays when an agent dies: the rows of
both data planes. A datagram that was sent may come at any later time, any number of times, or
never. An agent may die before or after each thing that it does; a new one knows the rows only, and
so does one that has forgotten an attempt because it is over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias

from ipos.agent.endpoints import giving, taking
from ipos.agent.endpoints.giving import Giving
from ipos.agent.endpoints.taking import Taking

LATE_NS = 2 * giving.FROZEN_NS
"""Longer than a frozen endpoint waits, and shorter than a prepared one."""
G: TypeAlias = giving.Event
T: TypeAlias = taking.Event
_RECOVERED = replace(taking.recovered(0), asked_ns=0)


_BEGIN = Giving()


class Row(Enum):
    """Of the endpoint in a data plane. GIVEN: `left_behind`."""

    NONE = 0
    LIVE = 1
    FROZEN = 2
    GIVEN = 3
    PREPARED = 4


@dataclass(frozen=True, slots=True)
class World:
    """None in place of an agent's memory: a new agent, which has none."""

    giver: Giving | None = _BEGIN
    taker: Taking | None = None
    here: Row = Row.LIVE
    there: Row = Row.NONE
    wire: frozenset[str] = frozenset({"offer", "state"})
    giver_died: bool = False
    taker_died: bool = False
    fails: bool = False
    """Whether an action has failed already."""


def _give(world: World, event: G, now_ns: int, die_after: int | None = None) -> Iterator[World]:
    """The giver's agent takes an event. die_after: it dies after so many things done."""
    if world.giver is None:
        return
    after, do = giving.step(world.giver, event, now_ns)
    world = replace(world, giver=replace(after, since_ns=0, told_ns=0))
    yield from _giver_does(world, do, die_after)


def _giver_does(world: World, do: tuple[giving.Do, ...], die: int | None) -> Iterator[World]:
    for done, one in enumerate(do):
        if die == done:
            yield replace(world, giver=None, giver_died=True)
            return
        if one is giving.Do.FREEZE:
            world = replace(world, here=Row.FROZEN)
            yield from _give(world, G.READ, 0, 0 if die else None)
            if not world.fails:
                yield from _give(replace(world, fails=True), G.NOT_READ, 0)
            return
        if one is giving.Do.GIVE:
            assert world.here is Row.FROZEN
            given = replace(world, here=Row.GIVEN)
            yield from _give(given, G.GAVE, 0, None if die is None else die - 1)
            if not world.fails:
                yield from _give(replace(world, fails=True), G.NOT_GIVEN, 0)
            return
        if one is giving.Do.THAW:
            assert world.here is Row.FROZEN
            world = replace(world, here=Row.LIVE)
        elif one is giving.Do.SHIP:
            world = replace(world, wire=world.wire | {"image"})
        elif one in (giving.Do.COMMIT, giving.Do.ABORT):
            world = replace(world, wire=world.wire | {one.name})
    yield world


def _take(world: World, event: T, now_ns: int, die_after: int | None = None) -> Iterator[World]:
    if world.taker is None:
        return
    after, do = taking.step(world.taker, event, now_ns)
    world = replace(world, taker=replace(after, since_ns=0, asked_ns=0))
    yield from _taker_does(world, do, die_after)


def _taker_does(world: World, do: tuple[taking.Do, ...], die: int | None) -> Iterator[World]:
    for done, one in enumerate(do):
        if die == done:
            yield replace(world, taker=None, taker_died=True)
            return
        if one is taking.Do.MAKE:
            made = replace(world, there=Row.PREPARED)
            yield from _take(made, T.MADE, 0, None if die is None else die - 1)
            if not world.fails:
                yield from _take(replace(world, fails=True), T.NOT_MADE, 0)
            return
        if one is taking.Do.GO:
            assert world.there is Row.PREPARED
            world = replace(world, there=Row.LIVE)
        elif one is taking.Do.DROP:
            world = replace(world, there=Row.NONE)
        else:
            world = replace(world, wire=world.wire | {one.name})
    yield world


_TO_TAKER = {"offer": T.OFFER, "state": T.STATE, "image": T.IMAGE, "COMMIT": T.COMMIT,
             "ABORT": T.ABORT}  # fmt: skip
_TO_GIVER = {"READY": G.READY, "PREPARED": G.PREPARED, "REFUSE": G.REFUSED, "DONE": G.DONE,
             "ASK": G.ASKED}  # fmt: skip


def _new_giver(world: World, event: G) -> Iterator[World]:
    """It answers from the rows."""
    if event in (G.ASKED, G.PREPARED, G.READY):
        said = giving.word(has_given=world.here is Row.GIVEN, is_under_way=False)
        assert said is not None
        yield replace(world, wire=world.wire | {said.name})


def _new_taker(world: World, event: T) -> Iterator[World]:
    """It looks at the rows before it believes that it knows nothing."""
    if world.there is Row.PREPARED:
        yield from _take(replace(world, taker=_RECOVERED), event, 0)
    elif event is T.OFFER and world.there is not Row.LIVE:
        yield replace(world, taker=Taking())
    elif event in (T.COMMIT, T.ABORT):
        yield replace(world, wire=world.wire | {"DONE"})
    elif event is T.IMAGE and world.there is Row.NONE:
        yield replace(world, wire=world.wire | {"REFUSE"})


def following(world: World, *, doubt: bool) -> Iterator[World]:
    """All worlds that may come next."""
    deaths: tuple[int | None, ...] = (None,) if world.giver_died else (None, 0, 1, 2)
    for said, heard in _TO_GIVER.items():
        if said in world.wire:
            if world.giver is None or world.giver.step is giving.Step.OVER:
                yield from _new_giver(world, heard)
            for die in deaths:
                yield from _give(world, heard, 0, die)
    for its in (G.TICK, G.TAKER_DOWN, G.WITHDRAWN):
        for die in deaths:
            yield from _give(world, its, LATE_NS if its is G.TICK else 0, die)
    if world.giver is None and world.here is Row.FROZEN:  # the application brings the socket
        yield replace(world, here=Row.LIVE)
    yield from _at_the_taker(world, 2 * taking.DOUBT_NS if doubt else LATE_NS)


def _at_the_taker(world: World, late_ns: int) -> Iterator[World]:
    deaths: tuple[int | None, ...] = (None,) if world.taker_died else (None, 0, 1)
    for said, heard in _TO_TAKER.items():
        if said in world.wire:
            if world.taker is None:
                yield from _new_taker(world, heard)
            for die in deaths:
                yield from _take(world, heard, 0, die)
    for its in (T.TICK, T.APPLICATION_GONE):
        for die in deaths:
            yield from _take(world, its, late_ns if its is T.TICK else 0, die)
    if world.taker is None and world.there is Row.PREPARED:
        yield replace(world, taker=_RECOVERED)


def explored(*, doubt: bool) -> dict[World, set[World]]:
    found: dict[World, set[World]] = {}
    due = deque([World()])
    while due:
        world = due.popleft()
        if world in found:
            continue
        found[world] = set(following(world, doubt=doubt)) - {world}
        due.extend(found[world])
    return found


def owners(world: World) -> int:
    """Who could say something to the client, now or when thawed."""
    return (world.here in (Row.LIVE, Row.FROZEN)) + (world.there is Row.LIVE)


def is_settled(world: World) -> bool:
    return (world.here, world.there) in ((Row.LIVE, Row.NONE), (Row.GIVEN, Row.LIVE))


def test_there_are_never_two_owners_and_never_none() -> None:
    found = explored(doubt=False)
    assert len(found) > 500
    for world in found:
        assert owners(world) + (world.here is Row.GIVEN and world.there is Row.PREPARED) == 1, world


def test_whatever_has_happened_it_can_end_with_one_owner_and_nothing_frozen() -> None:
    found = explored(doubt=False)
    before: dict[World, set[World]] = {}
    for world, after in found.items():
        for one in after:
            before.setdefault(one, set()).add(world)
    ends = {world for world in found if is_settled(world)}
    good, due = set(ends), deque(ends)
    while due:
        for one in before.get(due.popleft(), ()):
            if one not in good:
                good.add(one)
                due.append(one)
    assert set(found) == good
    assert {world.there for world in ends} == {Row.NONE, Row.LIVE}


def test_a_doubt_that_never_ends_leaves_no_owner_and_never_two() -> None:
    found = explored(doubt=True)
    assert max(owners(world) for world in found) == 1
    assert any(owners(world) == 0 and world.there is Row.NONE for world in found)


def test_the_outcome_is_told_again_until_it_is_known() -> None:
    given = Giving(giving.Step.GIVEN, 0, 0)
    assert giving.step(given, G.TICK, giving.AGAIN_NS - 1) == (given, ())
    told, do = giving.step(given, G.TICK, giving.AGAIN_NS)
    assert do == (giving.Do.COMMIT,)
    assert told.told_ns == giving.AGAIN_NS
    assert giving.step(told, G.DONE, 0)[0].step is giving.Step.OVER
    over, do = giving.step(given, G.TICK, giving.FORGET_NS + 1)
    assert (over.step, do) == (giving.Step.OVER, ())


def test_the_giver_is_asked_until_the_doubt_ends() -> None:
    prepared = Taking(taking.Step.PREPARED, 0, 0)
    assert taking.step(prepared, T.TICK, taking.ASK_NS - 1)[1] == ()
    asked, do = taking.step(prepared, T.TICK, taking.ASK_NS)
    assert do == (taking.Do.ASK,)
    assert asked.asked_ns == taking.ASK_NS
    assert taking.step(prepared, T.TICK, taking.DOUBT_NS + 1)[1] == (taking.Do.DROP,)


def test_nothing_is_frozen_for_long() -> None:
    for step in giving.Step:
        after, do = giving.step(Giving(step, 0, 0), G.TICK, giving.FROZEN_NS + 1)
        if step is giving.Step.SENT:
            assert after.step is giving.Step.KEPT
            assert giving.Do.THAW in do
        else:
            assert giving.Do.THAW not in do


def test_an_attempt_of_an_earlier_agent_is_told_from_the_rows() -> None:
    assert giving.word(has_given=True, is_under_way=False) is giving.Do.COMMIT
    assert giving.word(has_given=False, is_under_way=False) is giving.Do.ABORT
    assert giving.word(has_given=False, is_under_way=True) is None
