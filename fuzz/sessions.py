# SPDX-License-Identifier: Apache-2.0
"""Whose session a request is of, and whether its server may have it: the C core against
`ipos.selection.sessions` and `spec.requests.identified`.

Heads are read one after the other by the same reader, with cookies that were inserted, learned,
identified, or neither, and are decided by tables that change under them.
"""

from __future__ import annotations

import random
import struct
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from fuzz.endpoints import SIZES
from ipos.abi.layout import constant
from ipos.selection.policies import ServerState
from ipos.selection.sessions import (
    COOKIE_MAX,
    Choice,
    Standing,
    Value,
    choose,
    decode,
    encode,
    encode_open,
    has_room,
    is_fresh,
)
from ipos.selection.sessions import learned_hash as hash_of
from native.library import Node
from spec.requests import identified
from spec.requests.identified import Holder, Keys
from tests.support.heads import pieces
from tests.support.pools import pool

SERVICE, POOL, LISTENING, PORT = 1, 2, 3, 80
SERVERS = (1, 2, 3, 40, 63, 64, 66)
NAME = b"IPOS"
LIFETIME_S = 100
DAYS = range(20_000, 20_003)
_CONNECTIONS = 100
_NS = 1_000_000_000
_DAY_NS = constant("IPOS_SESSION_DAY_S") * _NS
_NOW = 1_000 * _NS
_LEARN_KEY = bytes(range(16))
_KINDS = (
    "IPOS_SESSION_NONE", "IPOS_SESSION_INSERT", "IPOS_SESSION_LEARN", "IPOS_SESSION_IDENTIFY"
)  # fmt: skip
_REQUESTS = 50


@dataclass(frozen=True, slots=True)
class _Farm:
    """What the tables say; `learned` by value, `identified` by identifier, and revoked where the
    server is 0.0.0.0; `keys` and `others` (believed, too) by day.
    """

    kind: str
    today: int
    states: dict[int, ServerState]
    holders: dict[IPv4Address, int]
    pool: list[int]
    listening: list[int]
    learned: dict[bytes, tuple[IPv4Address, int]]
    identified: dict[bytes, tuple[IPv4Address, int]]
    keys: dict[int, bytes]
    others: dict[int, bytes]
    limits: dict[int, int]

    @property
    def full(self) -> list[int]:
        return [one for one, limit in self.limits.items() if not has_room(_CONNECTIONS, limit)]


def run(seed: int, count: int) -> tuple[int, list[str]]:
    """So many requests; how many there were, and what differed."""
    rng = random.Random(seed)
    found: list[str] = []
    done = 0
    with Node(SIZES) as node:
        while done < count and len(found) < 20:
            farm = _farm(node, rng)
            for _ in range(_REQUESTS):
                done += 1
                value = _cookie(rng, farm)
                refused = {server for server in SERVERS if rng.random() < 0.1}
                wanted, said = _wanted(farm, value, refused), _said(node, rng, value, refused)
                if said != wanted:
                    found.append(f"request {done} of seed {seed} (cookie {value!r} in {farm}, "
                                 f"refused by {refused}): {wanted}, core {said}")  # fmt: skip
                found += _renewed(node, farm, value)
    return done, found


def _wanted(farm: _Farm, value: bytes, refused: set[int]) -> Choice:
    if farm.kind == "IPOS_SESSION_IDENTIFY":
        return _wanted_identified(farm, value, refused)
    inserts = farm.kind == "IPOS_SESSION_INSERT"
    fresh, server = True, None
    if inserts:
        text = value.decode("latin-1")
        ours = decode(text, farm.keys)
        known = ours or decode(text, farm.others)
        if known is not None:
            server, fresh = known.server, known is ours and is_fresh(known, farm.today)
    elif farm.kind == "IPOS_SESSION_LEARN":
        told = farm.learned.get(value)
        server = told[0] if told and told[1] >= _NOW else None
    if server is None:
        return Choice(None, Standing.NONE, inserts)
    return choose(
        farm.holders.get(server), farm.states, farm.pool, farm.listening,
        refused, full=farm.full, inserts=inserts, fresh=fresh,
    )  # fmt: skip


def _wanted_identified(farm: _Farm, value: bytes, refused: set[int]) -> Choice:
    rows = {
        identity: Holder(server if int(server) else None, expires)
        for identity, (server, expires) in farm.identified.items()
    }
    said = identified.accept(
        value.decode("latin-1"), Keys(farm.keys, farm.others), rows, _NOW, farm.today
    )
    if said.server is None:
        return Choice(None, said.standing, True)
    return choose(
        farm.holders.get(said.server), farm.states, farm.pool, farm.listening,
        refused, full=farm.full, drains=False, inserts=True, fresh=said.fresh,
    )  # fmt: skip


def _said(node: Node, rng: random.Random, value: bytes, refused: set[int]) -> Choice:
    cookie = b"Cookie: a=b; " + NAME + b"=" + value + b"\r\n" if value else b""
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + cookie + b"\r\n"
    node.read(pieces(rng, head), SERVICE)
    server, standing, insert = node.session(_NOW, refused)
    return Choice(server or None, Standing(standing), insert)


def _renewed(node: Node, farm: _Farm, value: bytes) -> list[str]:
    """A row that was used in the second half of its life begins it again, and no other does."""
    if farm.kind != "IPOS_SESSION_LEARN" or value not in farm.learned:
        return []
    ip, expires = farm.learned[value]
    due = _NOW <= expires < _NOW + LIFETIME_S * _NS // 2
    wanted = _NOW + LIFETIME_S * _NS if due else expires
    farm.learned[value] = ip, wanted
    row = node.table("cookies")[{"hash": hash_of(value, _LEARN_KEY), "service_port": PORT}]
    if row["expires_ns"] == wanted and row["server_ip"] == int(ip):
        return []
    return [f"the row of {value!r} is {row}, it should end at {wanted}"]


def _cookie(rng: random.Random, farm: _Farm) -> bytes:
    if farm.kind == "IPOS_SESSION_IDENTIFY" and rng.random() < 0.8:
        return _identified(rng, farm)
    choice = rng.randrange(8)
    if choice < 2 and farm.learned:
        return rng.choice(list(farm.learned))
    if choice == 2:
        length = rng.choice((0, 1, 7, 8, 9, 31, 32, 33, 39, 40, 41, COOKIE_MAX))
        return bytes(rng.choice(b"abcdef0123456789") for _ in range(length))
    ip = rng.choice([*farm.holders, IPv4Address("192.0.2.77")])
    day = rng.choice(DAYS)
    key = rng.choice((farm.keys, farm.keys, farm.others)).get(day, b"k" * 16)
    named = Value(day, ip)
    text = encode_open(named, key) if choice > 5 else encode(named, key, rng.getrandbits(32))
    value = bytearray(text.encode())
    if choice in (3, 6):
        at = rng.randrange(len(value))
        value[at] = rng.choice(b"0123456789abcdefABCDEFgG/:`@")
    return bytes(value)


def _identified(rng: random.Random, farm: _Farm) -> bytes:
    identity = rng.choice([*farm.identified, *farm.identified, rng.randbytes(8), bytes(8)])
    day = rng.choice(DAYS)
    key = rng.choice((farm.keys, farm.keys, farm.others)).get(day, b"k" * 16)
    value = bytearray(identified.encode(identity, day, key).encode())
    if rng.random() < 0.3:
        value[rng.randrange(len(value))] = rng.choice(b"0123456789abcdefABCDEFgG/:`@")
    return bytes(value)


def _farm(node: Node, rng: random.Random) -> _Farm:
    """Other tables, on the node too."""
    states = {server: rng.choice(list(ServerState)) for server in SERVERS}
    places = {IPv4Address(f"203.0.113.{server}"): server for server in SERVERS}
    learned: dict[bytes, tuple[IPv4Address, int]] = {}
    for _ in range(8):
        value = bytes(rng.choice(b"abcxyz.-") for _ in range(rng.randrange(1, 20)))
        expires = _NOW + rng.choice((-_NS, 0, 1, 40 * _NS, 50 * _NS, 99 * _NS))
        learned[value] = rng.choice([*places, IPv4Address("192.0.2.77")]), expires
    identified: dict[bytes, tuple[IPv4Address, int]] = {}
    for _ in range(8):
        expires = _NOW + rng.choice((-_NS, 0, 1, 40 * _NS, 99 * _NS))
        server = rng.choice([*places, IPv4Address("192.0.2.77"), IPv4Address(0)])
        identified[rng.randbytes(8)] = server, expires
    keys = {day: rng.randbytes(16) for day in DAYS if rng.random() < 0.8}
    farm = _Farm(
        rng.choice(_KINDS), rng.choice(DAYS), states,
        {ip: server for ip, server in places.items() if rng.random() < 0.9},
        [server for server in SERVERS if rng.random() < 0.7],
        [server for server in SERVERS if rng.random() < 0.9],
        learned,
        identified,
        keys,
        {day: rng.randbytes(16) for day in keys if rng.random() < 0.5},
        {server: rng.choice((0, 0, 99, 80, 81, 79, 60)) for server in SERVERS},
    )  # fmt: skip
    _write(node, farm, places)
    return farm


def _write(node: Node, farm: _Farm, places: dict[IPv4Address, int]) -> None:
    node.table("settings")[0] = {
        "abi": constant("IPOS_ABI"), "self": 1, "learn_key": struct.unpack("<QQ", _LEARN_KEY),
        "wall_offset_ns": farm.today * _DAY_NS,
    }  # fmt: skip
    node.table("services")[SERVICE] = {
        "used": 1, "pool": POOL, "listening": LISTENING, "port": PORT,
    }  # fmt: skip
    name = NAME.ljust(constant("IPOS_COOKIE_NAME_MAX"), b"\0")
    node.table("sessions")[SERVICE] = {
        "kind": constant(farm.kind), "name_len": len(NAME), "name": tuple(name),
        "lifetime_s": LIFETIME_S,
    }  # fmt: skip
    for index, members in ((POOL, farm.pool), (LISTENING, farm.listening)):
        candidates = [{"server": one, "port": 8080} for one in sorted(members)]
        node.table("pools")[index] = pool(candidates)
    for ip, server in places.items():
        node.table("servers")[server] = {
            "address": int(ip), "state": farm.states[server], "limit": farm.limits[server],
            "tcp_connections": _CONNECTIONS,
        }  # fmt: skip
        key = {"ip": int(ip), "port": PORT, "protocol": 6}
        if ip in farm.holders:
            node.table("addresses")[key] = {"service": SERVICE, "holder": server}
        elif key in node.table("addresses"):
            del node.table("addresses")[key]
    for day in DAYS:
        key_of_day = farm.keys.get(day)
        row: dict[str, Any] = {
            "key": struct.unpack("<QQ", key_of_day or bytes(16)),
            "other": struct.unpack("<QQ", farm.others.get(day, bytes(16))),
            "epoch": day,
            "valid": (key_of_day is not None) + 2 * (day in farm.others),
        }
        node.table("session_keys")[day % constant("IPOS_SESSION_DAYS")] = row
    cookies = node.table("cookies")
    for key, _ in list(cookies.items()):
        del cookies[key]
    for value, (ip, expires) in farm.learned.items():
        cookies[{"hash": hash_of(value, _LEARN_KEY), "service_port": PORT}] = {
            "server_ip": int(ip), "expires_ns": expires,
        }  # fmt: skip
    for identity, (ip, expires) in farm.identified.items():
        cookies[{"hash": int.from_bytes(identity, sys.byteorder), "service_port": PORT}] = {
            "server_ip": int(ip), "turn": 1, "expires_ns": expires,
        }  # fmt: skip
