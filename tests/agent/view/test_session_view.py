# SPDX-License-Identifier: Apache-2.0
"""What `explain` says of cookies, in the words of `ipos watch`."""

import dataclasses
import sys
from ipaddress import IPv4Address

import pytest

from ipos.abi import rows
from ipos.abi.codec import Codec
from ipos.abi.layout import constant, layout
from ipos.agent.view.explanation import Explanation, explain
from ipos.config.schema import Service, Session
from ipos.kernel.decisions import reasons
from ipos.selection.sessions import Value, encode, encode_open, learned_hash
from spec.requests import identified
from tests.agent.made_up_farm import NOW_NS
from tests.agent.running import Running

DAY, KEY = 20_000, bytes(16)
INSERT, LEARN = "http://203.0.113.1/", "http://203.0.113.1:8001/"
OWNER = IPv4Address("203.0.113.2")
INSERTED = f"theme=dark; IPOS={encode(Value(DAY, OWNER), KEY, 7)}"
OPEN = f"IPOS={encode_open(Value(DAY, OWNER), KEY)}"
LEARNED = "ID=abc"
NAMED = "http://203.0.113.1:8003/"
IDENTITY, REVOKED = b"a client", b"no more "
GONE = f"IPOS={identified.encode(b'a nobody', DAY, KEY)}"
IDENTIFIED = f"IPOS={identified.encode(IDENTITY, DAY, KEY)}"


@pytest.fixture
def running() -> Running:
    made = Running(
        Service(name="web", port=80, session=Session(kind="insert")),
        Service(name="shop", port=8001, session=Session(kind="learn", cookie="ID")),
        Service(name="plain", port=8002),
        Service(name="named", port=8003, session=Session(kind="identify")),
    )
    made.tables.session_keys.put(
        DAY % 64, rows.EpochKey((0, 0), epoch=DAY, valid=rows.KeyValid.VALID)
    )
    shape = layout("ipos_settings")
    made.tables.settings.put(0, Codec(rows.Settings, shape).decode(bytes(shape.size)))
    key = rows.CookieKey(learned_hash(b"abc", KEY), 8001)
    made.tables.cookies.put(key, rows.Cookie(OWNER, expires_ns=NOW_NS * 2))
    for identity, server in ((IDENTITY, OWNER), (REVOKED, IPv4Address(0))):
        key = rows.CookieKey(int.from_bytes(identity, sys.byteorder), 8003)
        made.tables.cookies.put(key, rows.Cookie(server, 1, NOW_NS * 2))
    return made


def _decided(found: Explanation) -> list[tuple[str | None, str]]:
    return [(one.server, one.reason) for one in found.decisions]


def _reason(name: str) -> str:
    return reasons()[constant(f"IPOS_REASON_{name}")]


@pytest.mark.parametrize(
    ("url", "cookie"),
    [
        (INSERT, INSERTED),
        (INSERT, OPEN),
        (LEARN, LEARNED),
        (NAMED, IDENTIFIED),
    ],
)
def test_the_server_of_a_session(running: Running, url: str, cookie: str) -> None:
    found = explain(running.view(), url, cookie=cookie)
    assert _decided(found) == [("s2", _reason("SESSION"))]
    assert f"names the server at {OWNER}: {_reason('SESSION')}" in found.notes[0]


@pytest.mark.parametrize(("url", "cookie"), [(INSERT, INSERTED), (LEARN, LEARNED)])
def test_a_server_in_maintenance_has_lost_it(running: Running, url: str, cookie: str) -> None:
    row = running.tables.servers.get(2)
    assert row is not None
    running.tables.servers.put(2, dataclasses.replace(row, state=rows.ServerState.MAINT))
    found = explain(running.view(), url, cookie=cookie)
    assert found.notes[0].endswith(_reason("SESSION_MOVED"))
    assert "s2" not in dict(_decided(found))


@pytest.mark.parametrize(
    ("url", "cookie", "said"),
    [
        (INSERT, "IPOS=" + "0" * 40, "no server of the farm made its value"),
        (INSERT, "IPOS=" + "0" * 32, "no server of the farm made its value"),
        (LEARN, "ID=abd", "no server has learned it"),
        (NAMED, "IPOS=" + "0" * 40, "no server of the farm made its value"),
        (
            NAMED,
            f"IPOS={identified.encode(b'a nobody', DAY, KEY)}",
            "session 61206e6f626f6479 has ended",
        ),
        (NAMED, f"IPOS={identified.encode(REVOKED, DAY, KEY)}", "is revoked"),
        (LEARN, "IPOS=abc", "there is no cookie ID in it"),
        ("http://203.0.113.1:8002/", "IPOS=1", "keeps no sessions by cookie"),
    ],
)
def test_a_cookie_that_counts_for_nothing(
    running: Running, url: str, cookie: str, said: str
) -> None:
    found = explain(running.view(), url, cookie=cookie)
    assert said in found.notes[0]
    assert found.decisions == explain(running.view(), url).decisions


def test_a_row_that_has_expired_names_nobody(running: Running) -> None:
    key = rows.CookieKey(learned_hash(b"abc", KEY), 8001)
    running.tables.cookies.put(key, rows.Cookie(OWNER, expires_ns=NOW_NS))
    assert "no server has learned it" in explain(running.view(), LEARN, cookie=LEARNED).notes[0]


def test_a_server_that_drains_gives_identified_sessions_away(running: Running) -> None:
    row = running.tables.servers.get(2)
    assert row is not None
    running.tables.servers.put(2, dataclasses.replace(row, state=rows.ServerState.DRAIN))
    found = explain(running.view(), NAMED, cookie=IDENTIFIED)
    assert found.notes[0].endswith(_reason("SESSION_MOVED"))
    assert "s2" not in dict(_decided(found))
    assert _decided(explain(running.view(), LEARN, cookie=LEARNED)) == [("s2", _reason("SESSION"))]
