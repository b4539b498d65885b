# SPDX-License-Identifier: Apache-2.0
"""Datagrams of identified sessions: whose are believed."""

from ipaddress import IPv4Address

from ipos.agent.heartbeat import datagram_tags
from ipos.agent.sessions.row_message import (
    CLOCK_MS,
    KINDS,
    ROWS_MAX,
    SessionRow,
    Told,
    decode,
    encode_answer,
    encode_rows,
)

KEY = bytes(range(32))
NOW_MS = 1_700_000_000_000
ROW = SessionRow(bytes(range(8)), 80, 3, IPv4Address("203.0.113.1"), 60_000)


def test_rows_and_answers_come_back() -> None:
    assert decode(encode_rows(7, [ROW], NOW_MS, KEY), NOW_MS, KEY) == Told(7, [ROW])
    assert decode(encode_answer(7, NOW_MS, KEY), NOW_MS, KEY) == Told(7, [], is_answer=True)
    assert len(encode_rows(7, [ROW] * ROWS_MAX, NOW_MS, KEY)) <= 1472


def test_a_datagram_is_of_these_seconds_and_of_this_farm() -> None:
    datagram = encode_rows(7, [ROW], NOW_MS, KEY)
    assert decode(datagram, NOW_MS + CLOCK_MS, KEY) is not None
    assert decode(datagram, NOW_MS + CLOCK_MS + 1, KEY) is None
    assert decode(datagram, NOW_MS, KEY[::-1]) is None
    assert decode(datagram[:-1], NOW_MS, KEY) is None
    assert decode(b"", NOW_MS, KEY) is None


def test_rows_are_no_answer() -> None:
    body = encode_rows(7, [ROW], NOW_MS, KEY)[: -datagram_tags.TAG_SIZE]
    for kind, is_there in zip((*KINDS, b"C"), (True, False, False), strict=True):
        changed = kind + body[1:]
        told = decode(changed + datagram_tags.tag(changed, KEY), NOW_MS, KEY)
        assert (told is not None) is is_there
