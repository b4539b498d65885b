# SPDX-License-Identifier: Apache-2.0
"""What the members take from the rows that the data plane has written."""

from collections.abc import Mapping

import pytest

from ipos.abi.layout import layout
from ipos.agent.heartbeat.membership import PAUSE_NS, Members
from tests.agent.made_up_farm import MS, NOW_NS, WALL_MS, back, datagram, members, state


def rows_of(*heard: Mapping[str, int]) -> bytes:
    """The map `heard`, from index 0 on."""
    return b"".join(layout("ipos_heard").pack(dict(one)) for one in heard)


def numbers(sequence: int, boot: int = WALL_MS - 1000, **fields: int) -> dict[str, int]:
    return {"boot": boot, "sequence": sequence, "tcp_connections": 5, "cpu_permille": 6,
            "memory_available": 7, "bandwidth_available": 8, "sent": 9, "closed": 4,
            "memory_short": 10, "bandwidth_short": 11,
            **fields}  # fmt: skip


def hearing() -> Members:
    """A farm whose second server has said all of its state, with sequence number 10."""
    farm = members()
    farm.receive(datagram(2, sequence=10, edition=1), int(back(2)), NOW_NS, WALL_MS)
    return farm


def test_numbers_that_the_data_plane_has_heard_are_a_state() -> None:
    farm = hearing()
    assert farm.by_ip[back(2)].index == 2
    later = NOW_NS + 100 * MS
    farm.hear_numbers(rows_of({}, {}, numbers(11, last_ns=later), {}), later)
    assert farm.take_numbers() == {2: (9, 4)}
    member = farm.by_ip[back(2)]
    assert member.state == state(
        2, sequence=11, edition=1, tcp_connections=5, cpu_permille=6, memory_available=7,
        bandwidth_available=8, memory_short=10, bandwidth_short=11,
    )  # fmt: skip
    assert (member.heard_ns, member.newest) == (later, (WALL_MS - 1000, 11))
    farm.hear_numbers(rows_of({}, {}, numbers(11), {}), later + 100 * MS)
    assert (farm.take_numbers(), member.heard_ns) == ({}, later), "it has said nothing since"


@pytest.mark.parametrize(
    "row",
    [numbers(10), numbers(9), numbers(11, boot=WALL_MS - 2000), numbers(11, boot=WALL_MS), {}],
    ids=["as old", "older", "of the life before", "of a life to come", "none"],
)
def test_numbers_of_another_state_are_none(row: dict[str, int]) -> None:
    farm = hearing()
    farm.hear_numbers(rows_of({}, {}, row, {}), NOW_NS + MS)
    assert farm.take_numbers() == {}
    assert farm.by_ip[back(2)].heard_ns == NOW_NS


def test_one_who_says_no_edition_or_was_recalled_is_heard_in_full_alone() -> None:
    farm = members()
    farm.receive(datagram(2, sequence=10), int(back(2)), NOW_NS, WALL_MS)
    farm.hear_numbers(rows_of({}, {}, numbers(11), {}), NOW_NS)
    assert farm.take_numbers() == {}
    farm = members()
    farm.recall({back(2): (2, state(2, edition=1), NOW_NS)}, NOW_NS)
    farm.hear_numbers(rows_of({}, {}, numbers(11), {}), NOW_NS)
    assert farm.take_numbers() == {}, "who knows since when"


def test_a_server_was_heard_when_the_data_plane_has_heard_it() -> None:
    farm = hearing()
    member, later = farm.by_ip[back(2)], NOW_NS + 200 * MS
    farm.hear_numbers(rows_of({}, {}, numbers(11, last_ns=later - 90 * MS), {}), later)
    assert member.heard_ns == later - 90 * MS
    assert farm.is_somebody_late(later), "it has missed this beat"
    farm.hear_numbers(rows_of({}, {}, numbers(12, last_ns=later - 2 * MS), {}), later + 20 * MS)
    assert not farm.is_somebody_late(later), "its clock is a little ahead of ours"


def test_numbers_are_no_news_but_of_one_who_was_down() -> None:
    farm = hearing()
    farm.hear_myself(state(1), NOW_NS)
    farm.receive(datagram(3, edition=1), int(back(3)), NOW_NS, WALL_MS)
    farm.is_quiet(NOW_NS)
    farm.hear_numbers(rows_of({}, {}, numbers(11), {}), NOW_NS)
    assert farm.is_quiet(NOW_NS)
    changes, later = farm.changes, NOW_NS + 900 * MS
    farm.hear_myself(state(1), later)
    farm.hear_numbers(rows_of({}, {}, numbers(11), numbers(12)), later)
    assert farm.silent(later) == []
    assert farm.by_ip[back(2)].down
    assert farm.changes > changes
    assert not farm.is_quiet(later), "the maps must say so"
    assert farm.is_quiet(later), "and then nothing changes until it speaks"
    farm.hear_numbers(rows_of({}, {}, numbers(12), numbers(13)), later + MS)
    assert not farm.by_ip[back(2)].down
    assert not farm.is_quiet(later + MS)


def test_since_when_another_server_is_heard_without_a_pause() -> None:
    farm, now_ns = hearing(), NOW_NS + 10 * PAUSE_NS
    silent = {"last_ns": now_ns - PAUSE_NS - 1, "since_ns": NOW_NS}
    heard = {"last_ns": now_ns - PAUSE_NS, "since_ns": NOW_NS + 5}
    myself = {"last_ns": now_ns, "since_ns": 1}
    assert farm.myself.index == 1
    assert farm.heard_since(rows_of({}, myself, silent, heard), now_ns) == NOW_NS + 5
    assert farm.heard_since(rows_of({}, myself, silent, silent), now_ns) == now_ns


def test_who_says_whole_states_has_made_no_pause() -> None:
    farm, now_ns = hearing(), NOW_NS + 10 * PAUSE_NS
    said = farm.by_ip[back(3)].heard_ns = NOW_NS + 2 * PAUSE_NS
    soon = {"last_ns": now_ns, "since_ns": said + PAUSE_NS}
    assert farm.heard_since(rows_of({}, {}, {}, soon), now_ns) == said
    late = soon | {"since_ns": said + PAUSE_NS + 1}
    assert farm.heard_since(rows_of({}, {}, {}, late), now_ns) == late["since_ns"]
