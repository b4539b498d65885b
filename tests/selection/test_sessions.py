# SPDX-License-Identifier: Apache-2.0
"""Sessions by cookie, the oracle: values, what a session's server may have, where a line goes."""

from ipaddress import IPv4Address

import pytest

from ipos.selection.policies import ServerState
from ipos.selection.sessions import (
    COOKIE_MAX,
    Choice,
    Standing,
    Value,
    choose,
    cookie_of,
    decode,
    encode,
    encode_open,
    insertion,
    is_fresh,
)

KEY = bytes(range(16))
VALUE = Value(20_000, IPv4Address("203.0.113.2"))
STATES = {
    1: ServerState.READY,
    2: ServerState.DRAIN,
    3: ServerState.MAINT,
    4: ServerState.DOWN,
    5: ServerState.READY,
}


OPEN = Value(20_000, IPv4Address("203.0.113.2"), open=True)
SEALED_TEXT = "d841f8a605b3fb46e72c7621b8683e8800004e20"
OPEN_TEXT = "00004e20cb007102" + "62d7d1d87f668f85"


def test_values_are_what_they_were() -> None:
    """Cookies outlive the release that has made them."""
    assert encode(VALUE, KEY, 0x01020304) == SEALED_TEXT
    assert encode_open(VALUE, KEY) == OPEN_TEXT


@pytest.mark.parametrize(("text", "value"), [(SEALED_TEXT, VALUE), (OPEN_TEXT, OPEN)])
def test_a_value_is_of_its_day_and_key(text: str, value: Value) -> None:
    assert decode(text, {20_000: KEY}) == value
    assert decode(text, {20_000: KEY[::-1]}) is None
    assert decode(text, {20_001: KEY}) is None


@pytest.mark.parametrize("text", [SEALED_TEXT, OPEN_TEXT])
def test_no_other_value_is_ours(text: str) -> None:
    for at, digit in enumerate(text):
        changed = text[:at] + ("0" if digit != "0" else "1") + text[at + 1 :]
        days = (VALUE.day, int(changed[:8], 16), int(changed[-8:], 16))
        assert decode(changed, dict.fromkeys(days, KEY)) is None, at
    assert decode(text, {20_000: KEY}) is not None
    assert decode(text.upper(), {20_000: KEY}) is None
    assert decode(text + "0", {20_000: KEY}) is None
    assert decode(text[:-8], {20_000: KEY}) is None


def test_values_of_one_server_have_nothing_in_common_but_the_day() -> None:
    """Who does not have the key cannot tell which server a value names, nor if two name one."""
    texts = [encode(VALUE, KEY, nonce) for nonce in range(2000)]
    assert {text[32:] for text in texts} == {"00004e20"}
    for at in range(0, 32, 2):
        assert len({text[at : at + 2] for text in texts}) > 200, "a byte is any byte"
    others = {encode(Value(20_000, IPv4Address("203.0.113.3")), KEY, each) for each in range(2000)}
    assert len(others | set(texts)) == 4000


def test_a_value_of_another_day_or_form_is_not_fresh() -> None:
    assert is_fresh(VALUE, 20_000)
    assert not is_fresh(VALUE, 20_001)
    assert not is_fresh(OPEN, 20_000)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("IPOS=1", "1"),
        ("theme=dark; IPOS = 1 ; IPOS=2", "1"),
        ("XIPOS=1; IPOSX=2; ipos=3; IPOS", ""),
        ('IPOS="1=2"', '"1=2"'),
        ("IPOS=" + "x" * COOKIE_MAX, "x" * COOKIE_MAX),
        ("IPOS=" + "x" * (COOKIE_MAX + 1), ""),
    ],
)
def test_the_cookie_of_a_header(header: str, value: str) -> None:
    assert cookie_of(header, "IPOS") == value


@pytest.mark.parametrize(
    ("owner", "refused", "choice"),
    [
        (1, (), Choice(1, Standing.KEPT, False)),
        (2, (), Choice(2, Standing.KEPT, False)),
        (3, (), Choice(None, Standing.MOVED, True)),
        (4, (), Choice(None, Standing.MOVED, True)),
        (None, (), Choice(None, Standing.MOVED, True)),
        (1, (1,), Choice(None, Standing.ELSEWHERE, False)),
        (5, (), Choice(None, Standing.ELSEWHERE, False)),
        (6, (), Choice(None, Standing.MOVED, True)),
    ],
)
def test_what_its_server_may_have(
    owner: int | None, refused: tuple[int, ...], choice: Choice
) -> None:
    pool, listening = (1, 2, 3, 4), (1, 2, 3, 4, 5)
    assert choose(owner, STATES, pool, listening, refused, inserts=True) == choice


def test_a_cookie_of_another_day_is_renewed_where_it_is_kept() -> None:
    assert choose(1, STATES, (1,), (1,), inserts=True, fresh=False).insert
    assert not choose(1, STATES, (), (1,), inserts=True, fresh=False).insert
    assert not choose(1, STATES, (1,), (1,), fresh=False).insert


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("sent", "place"),
    [
        (OK + b"A: b\r\n\r\n", len(OK)),
        (OK[:-1], None),
        (b"HTTP/1.0 204\n\n", 13),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 25 + len(OK)),
        (b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" + OK, 34 + len(OK)),
        (b"HTTP/1.1 103 Early\r\nLink: </a>\r\n" + OK, None),
        (b"HTTP/1.1 101 Switching\r\nA: b\r\n\r\n", 24),
        (b"HTTP/2.0 200 OK\r\n\r\n", None),
        (b"ICY 200 OK\r\n\r\n", None),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", None),
    ],
)
def test_where_a_line_goes(sent: bytes, place: int | None) -> None:
    assert insertion(sent) == place
