# SPDX-License-Identifier: Apache-2.0
"""Rows of identified sessions: which of two all servers take for the newer."""

from ipaddress import IPv4Address
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from ipos.selection.identities import REVOKED, TURNS_MAX, Row, is_newer, next_turn

SERVER = IPv4Address("203.0.113.1")
ROWS = st.builds(
    Row,
    st.sampled_from((1, 2, 3, TURNS_MAX, REVOKED)),
    st.sampled_from((SERVER, SERVER + 1, SERVER + 2)),
    st.integers(1, 3),
)


@given(st.lists(ROWS, min_size=1, max_size=4))
def test_servers_that_hear_of_rows_in_any_order_end_with_the_same(rows: list[Row]) -> None:
    ends = set()
    for order in permutations(rows):
        known, *others = order
        for told in others:
            if is_newer(told, known):
                known = told
        ends.add(known)
        assert not any(is_newer(told, known) for told in rows), "nothing is told in a circle"
    assert len(ends) == 1


def test_nothing_is_newer_than_a_session_that_is_revoked() -> None:
    revoked = Row(REVOKED, None, 1)
    assert not is_newer(Row(TURNS_MAX, SERVER, 9), revoked)
    assert is_newer(revoked, Row(TURNS_MAX, SERVER, 9))
    assert next_turn(TURNS_MAX) == TURNS_MAX
    assert next_turn(1) == 2
