# SPDX-License-Identifier: Apache-2.0
"""Values of identified sessions: what is one, and when a request that brings one is believed."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipos.handshake.siphash import siphash64
from ipos.selection import identities, sessions
from ipos.selection.sessions import COOKIE_MAX, Standing
from spec.requests.identified import Accepted, Holder, Keys, accept, day_of, decode, encode, made

DAY, KEY, OTHER = 20_000, b"the day's key 16", b"the other day's."
IDENTITY = bytes.fromhex("1f0c9a44d2e8b370")
SERVER = IPv4Address("203.0.113.1")
NOW_NS = 1_000
KEYS = Keys({DAY: KEY}, {DAY: OTHER})
LIVES = Holder(SERVER, NOW_NS)
OURS = encode(IDENTITY, DAY, KEY)


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


def test_a_session_that_lives_has_its_server() -> None:
    rows = {IDENTITY: LIVES}
    kept = Accepted(Standing.KEPT, IDENTITY, SERVER, fresh=True)
    assert accept(OURS, KEYS, rows, NOW_NS, DAY) == kept
    old = replace(kept, fresh=False)
    assert accept(encode(IDENTITY, DAY, OTHER), KEYS, rows, NOW_NS, DAY) == old
    assert accept(OURS, KEYS, rows, NOW_NS, DAY + 1) == old


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param({}, id="no row"),
        pytest.param({IDENTITY: Holder(None, NOW_NS)}, id="revoked"),
        pytest.param({IDENTITY: Holder(SERVER, NOW_NS - 1)}, id="expired"),
        pytest.param({bytes(8): LIVES}, id="another's"),
    ],
)
def test_without_a_row_that_lives_it_is_unknown(rows: dict[bytes, Holder]) -> None:
    said = accept(OURS, KEYS, rows, NOW_NS, DAY)
    assert said == Accepted(Standing.UNKNOWN, IDENTITY)


def test_a_row_does_not_help_who_cannot_prove_the_identifier() -> None:
    rows = {IDENTITY: LIVES, bytes(8): LIVES}
    for text in (encode(IDENTITY, DAY, b"nobody's key 16b"), encode(bytes(8), DAY, KEY), "x"):
        assert accept(text, KEYS, rows, NOW_NS, DAY) == Accepted(Standing.FORGED)
    for text in ("", "0" * (COOKIE_MAX + 1)):
        assert accept(text, KEYS, rows, NOW_NS, DAY) == Accepted(Standing.NONE)


def test_a_day_has_86400_seconds() -> None:
    day_ns = 86_400 * 10**9
    assert [day_of(DAY * day_ns + rest) for rest in (-1, 0, day_ns - 1)] == [DAY - 1, DAY, DAY]


@given(
    st.sampled_from((KEY, OTHER)),
    st.sampled_from((bytes(8), IDENTITY)) | st.binary(min_size=8, max_size=8),
    st.integers(DAY - 1, DAY + 1),
    st.integers(0, 41),
    st.sampled_from("0123456789abcdefAg "),
)
def test_agents_read_the_same_of_a_value(
    key: bytes, identity: bytes, day: int, at: int, character: str
) -> None:
    """Of what is right, changed in a place, or cut there."""
    value = encode(identity, day, key)
    for text in (value, value[:at] + character + value[at + 1 :], value[:at]):
        read = decode(text, KEYS.ours)
        assert identities.decode(text, KEYS.ours) == (read and read[0])
