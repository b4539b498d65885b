# SPDX-License-Identifier: Apache-2.0
"""All agents speak at the same moments of the wall clock, in large farms at fewer of them."""

from itertools import pairwise

import pytest

from ipos.agent.heartbeat.member import Age
from ipos.agent.heartbeat.member_faults import Fault
from ipos.agent.heartbeat.message import Application, Order, State
from ipos.agent.heartbeat.pace import OFTEN, SELDOM, Editions, Pace, pace
from tests.agent.made_up_farm import MS, NOW_NS, WALL_MS, back, datagram, members, state

EPOCH_S = 1_700_000_000.0


def test_a_farm_of_more_than_64_says_its_states_four_times_a_second() -> None:
    assert [pace(n).again_ms for n in (1, 64, 65, 256, 1000)] == [100, 100, 250, 250, 250]


@pytest.mark.parametrize("often", [OFTEN, SELDOM])
@pytest.mark.parametrize("late_s", [0, 0.03, 0.0999])
def test_the_next_look_is_at_the_same_moment_for_all(often: Pace, late_s: float) -> None:
    looks = (EPOCH_S + late_s + often.until_next(EPOCH_S + late_s)) * 1000 / often.tick_ms
    assert looks == pytest.approx(round(looks), abs=1e-3)


def test_a_timer_that_rings_early_is_not_rung_again_for_the_same_time() -> None:
    assert OFTEN.until_next(EPOCH_S + 0.0999) > 0.1
    assert OFTEN.until_next(EPOCH_S + 0.0001) < 0.1


def test_at_which_looks_all_speak() -> None:
    at = [EPOCH_S + tick * 0.125 for tick in range(4)]
    assert [SELDOM.speaks(now_s) for now_s in at] == [True, False, True, False]
    assert [SELDOM.speaks(now_s - 0.002) for now_s in at] == [True, False, True, False]
    assert all(OFTEN.speaks(EPOCH_S + tick / 10) for tick in range(10))


def test_one_that_speaks_four_times_a_second_is_given_its_time() -> None:
    farm = members()
    farm.hear_myself(state(1, again_ms=250), NOW_NS)
    member = farm.receive(datagram(2, again_ms=250), int(back(2)), NOW_NS, WALL_MS)
    assert member is not None
    beats = range(100, 1000, 100)
    ages = {ms: member.age(NOW_NS + ms * MS) for ms in beats}
    asked = [ms for ms in beats if member in farm.silent(NOW_NS + ms * MS)]
    assert [ms for ms in beats if ages[ms] is Age.FRESH] == [100, 200, 300, 400, 500]
    assert [ms for ms in beats if ages[ms] is Age.SUSPECTED] == [600]
    assert [ms for ms in beats if ages[ms] is Age.DOWN] == [700, 800, 900], "by so much later"
    assert asked == [300, 400, 500, 600]
    assert not farm.is_somebody_late(NOW_NS + 125 * MS), "it speaks at every second look"
    assert farm.is_somebody_late(NOW_NS + 250 * MS)


def told(editions: Editions, *states: State) -> list[tuple[int, bool]]:
    """The edition of each, and whether all of it is said."""
    return [(said.edition, whole) for said, whole in map(editions.tell, states)]


def test_what_is_new_is_said_three_times_and_then_numbers_alone() -> None:
    editions = Editions()
    beats = [state(1, sent_ms=WALL_MS + 100 * n, cpu_permille=n) for n in range(1, 9)]
    assert told(editions, *beats) == [(1, True)] * 3 + [(1, False)] * 5
    drained = state(1, state=2, sequence=9)
    assert told(editions, drained, drained, drained, drained) == [(2, True)] * 3 + [(2, False)]


def test_numbers_and_applications_make_no_new_edition() -> None:
    editions = Editions()
    told(editions, *[state(1)] * 3)
    changes = (
        {"tcp_connections": 7}, {"cpu_permille": 7}, {"memory_available": 7},
        {"bandwidth_available": 7}, {"sequence": 2}, {"sent_ms": 7},
        {"applications": [Application(1, 2, 3)]},
    )  # fmt: skip
    assert told(editions, *(state(1, **change) for change in changes)) == [(1, False)] * 7
    fields = {"orders": [Order("s1", 2, 5)], "hears": b"ab", "services": [], "weight": 3,
              "listening": [], "limit": 5, "fault": 1, "claims": [1], "again_ms": 250,
              "addresses": [9], "withheld": 1}  # fmt: skip
    for number, (field, value) in enumerate(fields.items(), start=2):
        assert told(editions, state(1, **{field: value})) == [(number, True)], field


def test_all_is_said_every_tenth_time_and_not_by_all_servers_at_once() -> None:
    whole: dict[int, list[int]] = {}
    for number in (1, 2, 3):
        editions = Editions()
        said = told(editions, *(state(number, sequence=n) for n in range(1, 40)))
        whole[number] = [n for n, (_, all_of_it) in enumerate(said, start=1) if all_of_it]
        later = [n for n in whole[number] if n > 3]
        assert all(after - before == 10 for before, after in pairwise(later))
    assert not set(whole[1][-2:]) & set(whole[2][-2:])
    slow = Editions()
    said = told(slow, *(state(1, sequence=n, again_ms=250) for n in range(1, 40)))
    assert sum(all_of_it for _, all_of_it in said[3:]) in (3, 4), "of 36, one in ten"


def test_for_one_who_begins_all_is_said_again() -> None:
    editions = Editions()
    told(editions, *[state(1)] * 4)
    editions.repeat()
    assert told(editions, *[state(1)] * 4) == [(1, True)] * 3 + [(1, False)]


def test_a_refused_server_says_its_whole_state_each_time() -> None:
    """The others' data planes do not know its MAC address, so they drop the frames of numbers."""
    refused = state(1, fault=Fault.DUPLICATE)
    assert told(Editions(), *[refused] * 6) == [(1, True)] * 6
