# SPDX-License-Identifier: Apache-2.0
"""The answers of an unattached endpoint, read by scapy."""

from __future__ import annotations

import pytest

from spec.handshake.answers import acknowledge, reset, syn_ack

from .witness import CLIENT, KEYS, NOW_S, SERVICE, checked, segment

STAMPED = [("NOP", None), ("NOP", None), ("Timestamp", (77, 88))]


def test_the_syn_ack_goes_back_where_the_syn_came_from() -> None:
    seen = checked(syn_ack(segment("S", seq=0xFFFF_FFFF), KEYS.cookie, NOW_S).packet())
    assert (seen.src, seen.dst, seen.sport, seen.dport) == (SERVICE, CLIENT, 80, 40001)
    assert (str(seen["TCP"].flags), seen["TCP"].ack, seen["TCP"].window) == ("SA", 0, 14600)


def test_data_in_a_syn_is_ignored() -> None:
    plain, loaded = segment("S", seq=5), segment("S", seq=5, data=b"early")
    assert syn_ack(loaded, KEYS.cookie, NOW_S) == syn_ack(plain, KEYS.cookie, NOW_S)


@pytest.mark.parametrize(
    ("flags", "options", "expected"),
    [
        ("SEC", STAMPED, "SAE"),
        ("SEC", [], "SA"),
        ("SE", STAMPED, "SA"),
        ("SECN", STAMPED, "SA"),
        ("S", STAMPED, "SA"),
    ],
)
def test_ecn_is_agreed_to_only_with_timestamps(
    flags: str, options: list[tuple[str, object]], expected: str
) -> None:
    answer = checked(syn_ack(segment(flags, options), KEYS.cookie, NOW_S).packet())
    assert str(answer["TCP"].flags) == expected


def test_the_syn_ack_echoes_the_timestamp() -> None:
    seen = checked(syn_ack(segment("S", STAMPED), KEYS.cookie, NOW_S).packet())
    assert dict(seen["TCP"].options)["Timestamp"][1] == 77


@pytest.mark.parametrize(
    ("flags", "fields", "expected"),
    [
        ("S", {"seq": 9, "ack": 4}, ("RA", 0, 10)),
        ("S", {"seq": 9, "data": b"abc"}, ("RA", 0, 13)),
        ("A", {"seq": 9, "ack": 4, "data": b"abc"}, ("R", 4, 0)),
        ("FA", {"seq": 9, "ack": 0xFFFF_FFFF}, ("R", 0xFFFF_FFFF, 0)),
    ],
)
def test_resets(flags: str, fields: dict[str, int], expected: tuple[str, int, int]) -> None:
    seen = checked(reset(segment(flags, STAMPED, **fields)).packet())["TCP"]
    assert (str(seen.flags), seen.seq, seen.ack) == expected
    assert (seen.window, seen.options) == (0, [])


@pytest.mark.parametrize(("scaled", "window"), [(True, 110), (False, 14000)])
def test_an_acknowledgement_leaves_the_windows_edge_where_it_was(scaled: bool, window: int) -> None:
    answer = acknowledge(segment("A", STAMPED), seq=3, ack=4, held=600, scaled=scaled)
    seen = checked(answer.packet())["TCP"]
    assert (str(seen.flags), seen.seq, seen.ack, seen.window) == ("A", 3, 4, window)
    assert seen.options == [("NOP", None), ("NOP", None), ("Timestamp", (88, 77))]


def test_no_timestamps_to_a_client_without() -> None:
    assert acknowledge(segment("A"), seq=3, ack=4, held=0, scaled=False).options == b""
