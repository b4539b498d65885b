# SPDX-License-Identifier: Apache-2.0
"""A server that hears no other one: whom it takes for dead, and when."""

from ipos.abi.columns import Columns
from ipos.agent.heartbeat.member import Age
from ipos.agent.heartbeat.member_faults import ALONE_NS, Fault
from ipos.agent.rows import desired
from tests.agent.heartbeat.test_member_faults import DOWN, LATER_NS, MAINT, Farm
from tests.agent.made_up_farm import MS, NOW_NS, front


def test_who_hears_nobody_takes_nobody_for_dead_at_once() -> None:
    farm = Farm()
    silent_ns = NOW_NS + 800 * MS
    farm.beat(silent_ns, silent=(2, 3), pause=True)
    assert farm.member(2).age(silent_ns) is Age.DOWN
    assert [row_of(farm, number, silent_ns) for number in (2, 3)] == [MAINT, MAINT]
    assert farm.why(2) == "no server is heard, so it may be this one that is cut off"
    assert not farm.members.all_answer(silent_ns), "nor is a connection nobody's"
    later_ns = silent_ns + ALONE_NS
    farm.beat(later_ns - 1, silent=(2, 3), pause=True)
    assert [row_of(farm, number, later_ns) for number in (2, 3)] == [MAINT, MAINT]
    farm.beat(later_ns, silent=(2, 3), pause=True)
    assert [row_of(farm, number, later_ns) for number in (2, 3)] == [DOWN, DOWN]
    assert farm.why(2) == ""


def row_of(farm: Farm, number: int, now_ns: int) -> int:
    member = farm.member(number)
    row = desired.server_row(member, (0, 0), member.age(now_ns))
    return int(Columns("ipos_server", ("state",), tuple).read(row)[0])


def test_who_has_no_front_either_takes_nobody_for_dead() -> None:
    farm = Farm()
    for after_ms in range(800, 20_000, 100):
        farm.beat(NOW_NS + after_ms * MS, Fault.FRONT_CARRIER, silent=(2, 3), pause=True)
        assert [farm.row(2), farm.row(3)] == [MAINT, MAINT]
    back_ns = NOW_NS + 20_000 * MS
    farm.beat(back_ns, silent=(2, 3), pause=True)
    assert farm.row(2) is MAINT, "it has just come back"
    farm.beat(back_ns + ALONE_NS, silent=(2, 3), pause=True)
    assert farm.row(2) is None
    assert row_of(farm, 2, back_ns + ALONE_NS) == DOWN


def test_the_last_but_one_is_dead_when_nobody_on_front_answers_for_it() -> None:
    """In a farm of two, who is left hears nobody."""
    farm = Farm(servers=2)
    silent_ns, address = NOW_NS + 900 * MS, int(front(2))
    farm.beat(silent_ns, silent=(2,), pause=True, front_ns=NOW_NS + 400 * MS, held=(address,))
    assert farm.row(2) is MAINT, "front may have gone at the same time"
    farm.beat(silent_ns, silent=(2,), pause=True, front_ns=silent_ns)
    assert farm.row(2) is MAINT, "it answers for its address, so back is cut"
    farm.beat(silent_ns, silent=(2,), pause=True, front_ns=silent_ns, held=(address,))
    assert row_of(farm, 2, silent_ns) == DOWN


def test_who_is_dead_stays_so_when_nobody_else_is_heard_any_more() -> None:
    farm = Farm()
    farm.beat(LATER_NS, silent=(2,), pause=True)
    assert row_of(farm, 2, LATER_NS) == DOWN, "s3 is heard"
    later_ns = LATER_NS + 1_000 * MS
    farm.beat(later_ns, silent=(2, 3), pause=True)
    assert [row_of(farm, number, later_ns) for number in (2, 3)] == [DOWN, MAINT]
    farm.beat(later_ns + MS)
    assert [row_of(farm, number, later_ns + MS) for number in (2, 3)] == [1, 1]


def test_who_says_good_bye_is_down_at_once() -> None:
    farm = Farm(servers=2)
    farm.says[2] = {"state": int(DOWN)}
    farm.beat(LATER_NS)
    assert row_of(farm, 2, LATER_NS) == DOWN
