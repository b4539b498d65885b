# SPDX-License-Identifier: Apache-2.0
"""What a timed decision looks at: request heads of any size, and a farm's tables. Pure but for the
maps written.

The farm has 10,000 rules: a hundred host patterns (98 hosts, a wildcard, any) with a hundred paths
each. The head asks for one of the hosts and a path below one of its rules; its session cookie
stands in the last header.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from pathlib import Path

from ipos.abi import rows
from ipos.abi.layout import constant
from ipos.agent.rows import pools
from ipos.agent.rows.pools import pool_row
from ipos.agent.rows.url_rows import compile_urls
from ipos.agent.rows.url_writer import UrlWriter
from ipos.config import schema
from ipos.config.schema import Config, Route
from ipos.handshake.siphash import siphash64
from ipos.kernel.maps import Store, Tables
from ipos.selection import sessions
from native.shapes import Rows, shape_of

RULES = 10_000
SESSIONS = ("insert", "learn")
CHUNK = constant("IPOS_CHUNK")

_SERVICE = 1  # index, as the timed programs have it
_PORT = 80
_NAME = b"IPOS"
_HOST = "www.shop.example"
_SERVER = IPv4Address("203.0.113.2")
_DAY = 20_000
_DAY_KEY = bytes(range(16))
_LEARN_KEY = bytes(range(16, 32))
_LINES = (
    b"GET /shop/cart/items?id=7&sort=price HTTP/1.1\r\n",
    b"Host: " + _HOST.encode() + b"\r\n",
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n",
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n",
    b"Accept-Language: en-US,en;q=0.5\r\n",
    b"Accept-Encoding: gzip, deflate, br\r\n",
    b"Connection: keep-alive\r\n",
)
_FILLER = 800  # bytes of the longest header that fills a head


def cookie(session: str) -> bytes:
    """The value that a session of this kind has."""
    if session == "insert":
        return sessions.encode(sessions.Value(_DAY, _SERVER), _DAY_KEY, 7).encode()
    return b"s2.0123456789abcdef"


def head(size: int, session: str = "learn") -> bytes:
    """A head of so many bytes, at least 64: as many usual headers as fit, and some that fill."""
    if size < 200:
        return (b"GET / HTTP/1.1\r\nHost: a.example\r\nX: ").ljust(size - 4, b"x") + b"\r\n\r\n"
    last = b"Cookie: theme=dark; " + _NAME + b"=" + cookie(session) + b"\r\n\r\n"
    lines = [*_LINES[:2]]
    room = size - len(b"".join(lines)) - len(last)
    for line in _LINES[2:]:
        if len(line) + 5 <= room:
            lines.append(line)
            room -= len(line)
    while room >= 5:
        filled = room if room <= _FILLER else min(_FILLER, room - 5)
        lines.append(b"X: " + b"x" * (filled - 5) + b"\r\n")
        room -= filled
    return b"".join(lines) + last


def farm(opened: Callable[[str], Store]) -> Mapping[str, Callable[[], None]]:
    """Fills the maps, each opened by its name; how to give the service a session of each kind."""
    tables = Tables(Path(), lambda path: opened(path.name))
    _urls(tables)
    Rows(opened("settings"), shape_of("settings"))[0] = {
        "abi": constant("IPOS_ABI"), "self": 1, "learn_key": struct.unpack("<QQ", _LEARN_KEY),
    }  # fmt: skip
    for index in (1, 2):
        address = IPv4Address(f"203.0.113.{index}")
        back = IPv4Address(f"10.77.0.{index}")
        tables.servers.put(index, rows.Server(address, back, bytes(6), rows.ServerState.READY))
        tables.addresses.put(
            rows.AddressKey(address, _PORT, rows.PROTOCOL_TCP), rows.Address(_SERVICE, index)
        )
    key = struct.unpack("<QQ", _DAY_KEY)
    tables.session_keys.put(
        _DAY % constant("IPOS_SESSION_DAYS"),
        rows.EpochKey(key, epoch=_DAY, valid=rows.KeyValid.VALID),
    )
    learned = rows.CookieKey(siphash64(_LEARN_KEY, cookie("learn")), _PORT)
    tables.cookies.put(learned, rows.Cookie(_SERVER, expires_ns=1 << 62))
    return {
        kind: lambda kind=kind: tables.sessions.put(  # type: ignore[misc]
            _SERVICE,
            rows.Session(rows.SessionKind[kind.upper()], name=_NAME, lifetime_s=86_400),
        )
        for kind in SESSIONS
    }


def hold(opened: Callable[[str], Store], data: bytes) -> None:
    """Puts a head into the hold pool, under the tuple that is all zero."""
    pieces = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
    for index, piece in enumerate(pieces):
        opened("hold_pool").update(index.to_bytes(4, "little"), piece.ljust(CHUNK, b"\0"))
    Rows(opened("holding"), shape_of("holding"))[{}] = {
        "held": len(data), "service": _SERVICE, "chunks": list(range(1, len(pieces) + 1)),
    }  # fmt: skip


def _urls(tables: Tables) -> None:
    patterns = [f"www{number}.shop.example" for number in range(97)]
    patterns += [_HOST, "*.shop.example", "*"]
    config = Config(
        farm=schema.Farm(name="shop", secret_file=Path("farm.key")),
        server=schema.Server(name="s1", front="f", back="b", addresses=[]),
        service=[schema.Service(name="web", port=_PORT)],
        route=[
            Route(service="web", host=host, path=path, servers=["s2"])
            for host in patterns
            for path in _paths()
        ],
    )
    assert len(config.route) == RULES
    numbers = pools.number_pools(pools.definitions(config))
    writer = UrlWriter(tables)
    writer.prepare(compile_urls(config, ["", "web"], numbers))
    writer.switch()
    for index, name in enumerate(numbers):
        if name:
            candidate = rows.Candidate(2, _PORT, 1, rows.RAMP_FULL)
            tables.pools.put(index, pool_row(rows.Policy.LEAST_LOADED, [candidate], firsts=1))
    listening = numbers.index(pools.listening(config.service[0]).key)
    tables.services.put(
        _SERVICE,
        rows.Service(rows.PROTOCOL_TCP, used=True, pool=listening, port=_PORT,
                     application_port=_PORT, listening=listening),
    )  # fmt: skip


def _paths() -> list[str]:
    """A hundred, of up to three segments."""
    found = ["/", "/shop/", "/shop/cart/", "/shop/cart/saved/"]
    return found + [f"/shop/part{number}/" for number in range(100 - len(found))]
