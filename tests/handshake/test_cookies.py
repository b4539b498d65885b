# SPDX-License-Identifier: Apache-2.0
"""Cookies: what goes in comes out, for 16 to 32 seconds, for nobody else."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import random
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipos.errors import IposError
from ipos.handshake.keys import FarmKeys, KeyRing, epoch_of, key_ring, secrets_in
from ipos.handshake.options import Timestamps, parse_options, write_timestamps
from ipos.handshake.segment import Flag, Segment
from ipos.handshake.siphash import siphash64
from spec.handshake.answers import syn_ack
from spec.handshake.cookies import (
    MSS_TABLE,
    Agreed,
    CookieKey,
    Handshake,
    check,
    is_expired,
    is_syn,
    make,
    mss_index,
)

from .witness import KEYS, NOW_S, checked, segment

EPOCH_START_S = 16.0 * 1000


def shake(syn: Segment, now_s: float = NOW_S, key: CookieKey = KEYS.cookie) -> Segment:
    """The client's ACK to our answer, as a client would make it from the answer's bytes alone."""
    answer = checked(syn_ack(syn, key, now_s).packet())
    seen = dict(answer["TCP"].options)
    options = b""
    if "Timestamp" in seen:
        options = write_timestamps(Timestamps(12345, seen["Timestamp"][0]))
    return replace(
        syn,
        flags=Flag.ACK,
        seq=answer["TCP"].ack,
        ack=answer["TCP"].seq + 1 & 0xFFFF_FFFF,
        options=options,
        data=b"",
    )


@st.composite
def syns(draw: st.DrawFn) -> Segment:
    options: list[tuple[str, Any]] = []
    if draw(st.booleans()):
        options.append(("MSS", draw(st.integers(0, 0xFFFF))))
    if draw(st.booleans()):
        options.append(("SAckOK", b""))
    if draw(st.booleans()):
        options.append(("Timestamp", (draw(st.integers(0, 0xFFFF_FFFF)), 0)))
    if draw(st.booleans()):
        options.append(("WScale", draw(st.integers(0, 255))))
    flags = draw(st.sampled_from(["S", "SEC", "SECN", "SE", "SPU"]))
    return segment(
        flags,
        draw(st.permutations(options)),
        seq=draw(st.integers(0, 0xFFFF_FFFF)),
        sport=draw(st.integers(0, 0xFFFF)),
    )


@given(syn=syns(), later_s=st.floats(0, 15.9))
def test_what_the_syn_said_comes_back(syn: Segment, later_s: float) -> None:
    offered = parse_options(syn.options)
    handshake = check(shake(syn), KEYS.cookie, NOW_S + later_s)
    assert handshake is not None
    stamped = offered.timestamps is not None
    assert handshake.irs == syn.seq
    assert handshake.snd_wscale == (offered.window_scale or 0)
    assert handshake.ts_recent == (12345 if stamped else 0)
    ecn = syn.flags & (Flag.ECE | Flag.CWR | Flag.AE) == Flag.ECE | Flag.CWR
    assert handshake.options == (
        (Agreed.SACK if offered.sack_permitted else 0)
        | (Agreed.TIMESTAMPS if stamped else 0)
        | (Agreed.WINDOW_SCALE if offered.window_scale is not None else 0)
        | (Agreed.ECN if ecn and stamped else 0)
    )
    if stamped:
        assert handshake.mss == offered.mss
    else:
        assert handshake.mss == max(m for m in MSS_TABLE if m <= max(offered.mss, 536))


MATRIX = list(product([536, 1220, 1460], [None, 0, 7, 14], [False, True], [False, True]))


@pytest.mark.parametrize(("mss", "scale", "sack", "stamped"), MATRIX)
def test_the_option_matrix(mss: int, scale: int | None, sack: bool, stamped: bool) -> None:
    options: list[tuple[str, Any]] = [("MSS", mss)]
    options += [("SAckOK", b"")] if sack else []
    options += [("Timestamp", (1, 0))] if stamped else []
    options += [("WScale", scale)] if scale is not None else []
    syn = segment("S", options, seq=99)
    seen = dict(checked(syn_ack(syn, KEYS.cookie, NOW_S).packet())["TCP"].options)
    assert seen.pop("MSS") == 1432
    assert seen.pop("NOP", None) is None or len(seen) < len(options)
    assert ("SAckOK" in seen, "Timestamp" in seen) == (sack, stamped)
    assert seen.get("WScale") == (None if scale is None else 7)
    handshake = check(shake(syn), KEYS.cookie, NOW_S)
    assert handshake is not None
    assert (handshake.mss, handshake.snd_wscale) == (mss, scale or 0)
    assert (Agreed.WINDOW_SCALE in handshake.options) == (scale is not None)


def test_a_golden_cookie_of_each_mode_from_the_documented_bits() -> None:
    # Computed here from the document, bit by bit, with nothing of the module but SipHash.
    epoch = int(NOW_S) // 16
    master = hashlib.scrypt(KEYS.secret, salt=b"ipos farm shop", n=16384, r=8, p=1, dklen=32)
    key = hmac.digest(master, b"ipos cookie" + epoch.to_bytes(8, "big"), "sha256")[:16]
    who = bytes([10, 99, 0, 7, 203, 0, 113, 1]) + (40001).to_bytes(2, "big") + b"\0\x50"

    def mac(word: int, mode: int) -> int:
        return siphash64(
            key, who + b"".join(n.to_bytes(4, "big") for n in (0xDEADBEEF, word, mode))
        )

    options: list[tuple[str, Any]] = [("MSS", 1459), ("SAckOK", b""), ("WScale", 9)]
    plain = make(segment("SEC", options, seq=0xDEADBEEF), KEYS.cookie, NOW_S)
    bits = f"{mac(9 | 1 << 4 | 2 << 6, 0):064b}"[:25] + "10" + "1" + "1001"
    assert (plain.iss, plain.ts_value, plain.ecn) == (int(bits, 2), None, False)

    options.append(("Timestamp", (5, 0)))
    stamped = make(segment("SEC", options, seq=0xDEADBEEF), KEYS.cookie, NOW_S)
    word = 9 | 1 << 4 | 1 << 5 | 1459 << 6
    bits = f"{mac(word, 1):064b}"
    assert stamped.iss == int(bits[:31] + f"{epoch % 2:b}", 2)
    assert stamped.ts_value == int(bits[-10:] + f"{word:022b}", 2)
    assert stamped.ecn


@pytest.mark.parametrize(("stamped", "end_s"), [(False, 24), (True, 32)])
@pytest.mark.parametrize("start_s", [EPOCH_START_S, EPOCH_START_S + 16])
def test_a_cookie_lives_in_its_epoch_and_the_next(
    stamped: bool, end_s: float, start_s: float
) -> None:
    """One without timestamps in the first half of the next only."""
    syn = segment("S", [("Timestamp", (1, 0))] if stamped else [])
    for made_s in (start_s, start_s + 15.9):
        ack = shake(syn, made_s)
        assert check(ack, KEYS.cookie, start_s + end_s - 0.1)
        assert not check(ack, KEYS.cookie, start_s + end_s)
        assert not check(ack, KEYS.cookie, start_s - 0.1)


@pytest.mark.parametrize("stamped", [False, True])
def test_a_cookie_is_known_for_ours_when_it_opens_nothing_any_more(stamped: bool) -> None:
    ack = shake(segment("S", [("Timestamp", (1, 0))] if stamped else []), EPOCH_START_S)
    assert is_expired(ack, KEYS.cookie, EPOCH_START_S + 63 * 16)
    assert not is_expired(ack, KEYS.cookie, EPOCH_START_S + 64 * 16)
    assert not is_expired(replace(ack, ack=ack.ack + 128), KEYS.cookie, EPOCH_START_S + 100)
    assert not is_expired(replace(ack, flags=Flag.RST), KEYS.cookie, EPOCH_START_S + 100)


@pytest.mark.parametrize("bit", range(32))
@pytest.mark.parametrize("stamped", [False, True])
def test_one_wrong_bit_proves_nothing(stamped: bool, bit: int) -> None:
    ack = shake(segment("S", [("Timestamp", (1, 0))] if stamped else []))
    wrong = [
        replace(ack, seq=ack.seq ^ 1 << bit),
        replace(ack, ack=(ack.ack - 1 ^ 1 << bit) + 1 & 0xFFFF_FFFF),
        replace(ack, source_port=ack.source_port ^ 1 << bit % 16),
        replace(ack, destination_port=ack.destination_port ^ 1 << bit % 16),
        replace(ack, source=ack.source + (1 << bit % 24)),
        replace(ack, destination=ack.destination + (1 << bit % 24)),
    ]
    stamps = parse_options(ack.options).timestamps
    echo = stamps.echo ^ 1 << bit if stamps is not None else 0
    wrong.append(replace(ack, options=write_timestamps(Timestamps(1, echo))))
    assert check(ack, KEYS.cookie, NOW_S) is not None
    assert [check(other, KEYS.cookie, NOW_S) for other in wrong] == [None] * len(wrong)


def test_leaving_the_timestamps_out_proves_nothing() -> None:
    ack = shake(segment("S", [("Timestamp", (1, 0))]))
    assert check(ack, KEYS.cookie, NOW_S)
    assert check(replace(ack, options=b""), KEYS.cookie, NOW_S) is None


@pytest.mark.parametrize(
    ("flags", "proves"),
    [("A", True), ("PA", True), ("FA", True), ("SA", False), ("RA", False), ("", False)],
)
def test_only_an_ack_proves(flags: str, proves: bool) -> None:
    ack = shake(segment("S"))
    other = replace(ack, flags=segment(flags).flags)
    assert (check(other, KEYS.cookie, NOW_S) is not None) == proves


def test_data_and_a_fin_may_come_with_the_proof() -> None:
    ack = replace(shake(segment("S")), flags=Flag.ACK | Flag.FIN, data=b"GET")
    assert check(ack, KEYS.cookie, NOW_S)


def test_random_acknowledgements_prove_nothing() -> None:
    rng = random.Random(0)
    syn = segment("A")
    hits = sum(
        check(replace(syn, seq=rng.getrandbits(32), ack=rng.getrandbits(32)), KEYS.cookie, NOW_S)
        is not None
        for _ in range(5000)
    )
    assert hits == 0


def test_another_farm_checks_nothing_of_ours() -> None:
    other = FarmKeys(b"the secret of another farm", "shop")
    assert check(shake(segment("S")), other.cookie, NOW_S) is None


def test_before_the_first_epoch_there_is_no_key_to_ask_for() -> None:
    odd_parity = replace(segment("A"), ack=0x101 + 1)
    assert check(odd_parity, KEYS.cookie, 0) is None


@pytest.mark.parametrize(
    ("mss", "index"),
    [(0, 0), (535, 0), (536, 0), (1219, 0), (1220, 1), (1459, 2), (1460, 3), (9000, 3)],
)
def test_mss_index(mss: int, index: int) -> None:
    assert mss_index(mss) == index


@pytest.mark.parametrize(
    ("flags", "opens"), [("S", True), ("SECUP", True), ("SA", False), ("SF", False), ("SR", False)]
)
def test_what_a_syn_is(flags: str, opens: bool) -> None:
    assert is_syn(segment(flags)) == opens


def test_keys_differ_by_purpose_and_epoch() -> None:
    keys = {KEYS.frame, KEYS.state, KEYS.cookie(1), KEYS.cookie(2), KEYS.cookie(1 << 40)}
    assert len(keys) == 5
    assert {len(key) for key in keys} == {16}
    master = hashlib.scrypt(KEYS.secret, salt=b"ipos farm shop", n=16384, r=8, p=1, dklen=32)
    assert KEYS.frame == hmac.digest(master, b"ipos frame 2", "sha256")[:16]
    assert KEYS.state == hmac.digest(master, b"ipos state", "sha256")[:16]


def test_farms_with_one_secret_share_no_key() -> None:
    other = FarmKeys(KEYS.secret, "shop2")
    assert not {other.frame, other.state, other.learn, other.cookie(1)} & {
        KEYS.frame, KEYS.state, KEYS.learn, KEYS.cookie(1)
    }  # fmt: skip


_OLD, _NEW = b"the old secret 1234", b"the new secret 5678"


@pytest.mark.parametrize(
    ("content", "main", "other"),
    [
        (_OLD, _OLD, None),
        (_OLD + b"\n", _OLD, None),
        (_OLD + b"\nalso " + _NEW + b"\n", _OLD, _NEW),
        (b"  " + _NEW + b" \r\nalso  " + _OLD + b"\r\n", _NEW, _OLD),
        (b"also " + _OLD, b"also " + _OLD, None),
        (_OLD + b"\nalso ", _OLD + b"\nalso", None),
        (_OLD + b"\nalways " + _NEW, _OLD + b"\nalways " + _NEW, None),
    ],
)
def test_what_a_secret_file_holds(content: bytes, main: bytes, other: bytes | None) -> None:
    assert secrets_in(content) == (main, other)
    ring = key_ring(content, "shop")
    assert (ring.main.secret, ring.other.secret if ring.other else None) == (main, other)


def test_a_secret_changes_in_steps_that_everybody_understands() -> None:
    old, new = FarmKeys(_OLD, "shop"), FarmKeys(_NEW, "shop")
    steps = [KeyRing(old), KeyRing(old, new), KeyRing(new, old), KeyRing(new)]
    for before, after in itertools.pairwise(steps):
        assert after.may_follow(before)
        assert before.may_follow(after) is (before.main in (after.main, after.other))
    assert KeyRing(old).may_follow(KeyRing(old, new)), "a step back"
    assert not KeyRing(new).may_follow(KeyRing(old))
    assert not KeyRing(new, old).may_follow(KeyRing(old))


def test_a_short_secret_is_refused_and_never_shown() -> None:
    with pytest.raises(IposError, match="has 15 bytes and needs at least 16"):
        FarmKeys(bytes(15), "shop")
    assert "secret of a farm" not in repr(KEYS)


def test_epochs_begin_every_16_seconds() -> None:
    assert [epoch_of(s) for s in (0, 15.99, 16, 1_700_000_000)] == [0, 0, 1, 106_250_000]


def test_handshake_columns_are_those_of_the_data_plane() -> None:
    columns = ["iss", "irs", "mss", "snd_wscale", "options", "ts_recent", "ts_sent"]
    assert list(Handshake.__dataclass_fields__) == columns
