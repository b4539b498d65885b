# SPDX-License-Identifier: Apache-2.0
"""Identifiers of sessions: their values, and which of two rows all servers take for the newer."""

from ipaddress import IPv4Address
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from ipos.handshake.siphash import siphash64
from ipos.selection import sessions
from ipos.selection.identities import (
    REVOKED,
    TURNS_MAX,
    Row,
    decode,
    encode,
    is_newer,
    made,
    next_turn,
)

DAY, KEY, OTHER = 20_000, b"the day's key 16", b"the other day's."
IDENTITY = bytes.fromhex("1f0c9a44d2e8b370")
SERVER = IPv4Address("203.0.113.1")
ROWS = st.builds(
    Row,
    st.sampled_from((1, 2, 3, TURNS_MAX, REVOKED)),
    st.sampled_from((SERVER, SERVER + 1, SERVER + 2)),
    st.integers(1, 3),
)


def test_a_value_is_the_identifier_its_proof_and_the_day() -> None:
    tag = siphash64(KEY, IDENTITY + DAY.to_bytes(4, "big") + b"\1").to_bytes(8, "little")
    value = encode(IDENTITY, DAY, KEY)
    assert value == IDENTITY.hex() + tag.hex() + f"{DAY:08x}"
    assert decode(value, {DAY: KEY}) == (IDENTITY, DAY)


def test_nothing_else_is_a_value() -> None:
    value = encode(IDENTITY, DAY, KEY)
    assert decode(value, {DAY: OTHER}) is None
    assert decode(value, {DAY + 1: KEY}) is None
    assert decode(value.upper(), {DAY: KEY}) is None
    assert decode(value[:-1], {DAY: KEY}) is None
    assert decode(encode(bytes(8), DAY, KEY), {DAY: KEY}) is None
    for at in range(len(value)):
        changed = value[:at] + ("0" if value[at] != "0" else "1") + value[at + 1 :]
        assert decode(changed, {DAY: KEY}) is None


def test_no_value_is_one_of_the_other_kind() -> None:
    inserted = sessions.encode(sessions.Value(DAY, SERVER), KEY, 7)
    assert decode(inserted, {DAY: KEY}) is None
    assert sessions.decode(encode(IDENTITY, DAY, KEY), {DAY: KEY}) is None


def test_whatever_differs_makes_another_identifier() -> None:
    base = {
        "key": KEY, "wall_ns": 5, "server": SERVER, "cpu": 1, "iss": 2, "irs": 3, "random": 4,
    }  # fmt: skip
    changed = [base, *({**base, name: value} for name, value in {
        "key": OTHER, "wall_ns": 6, "server": SERVER + 1, "cpu": 2, "iss": 3, "irs": 2, "random": 5,
    }.items())]  # fmt: skip
    assert len({made(**each) for each in changed}) == len(changed)  # type: ignore[arg-type]


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
