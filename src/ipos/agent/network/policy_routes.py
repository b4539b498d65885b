# SPDX-License-Identifier: Apache-2.0
"""Rules and tables of the kernel's routing by which answers leave by the right uplink.

    priority  rule
    7700      from one uplink's prefix to another one's     lookup the first one's table
    7701      all: routes of `main` but the default         lookup main suppress_prefixlength 0
    7702      from an uplink's prefix                       lookup its table

A table has one route: by default to the uplink's router. So the site's own routes that say more
than a default count first, and what has no service address for its source is routed as before.
All of it has our mark, by which it is found again.
"""

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from ipos.agent.network.rtnetlink import MARK, RtNetlink
from ipos.config.uplink import Uplink, here

TABLE = 7700
"""The table of the first uplink; the others follow."""
_BETWEEN, _SPECIFIC, _FROM = 7700, 7701, 7702
_MAIN = 254
_NEW_ROUTE, _DELETE_ROUTE, _GET_ROUTE = 24, 25, 26
_NEW_RULE, _DELETE_RULE, _GET_RULE = 32, 33, 34
_CREATE, _REPLACE = 0x600, 0x500
_RULE = struct.Struct("=BBBBBxxBI")
"""fib_rule_hdr: family, prefix lengths of destination and source, TOS, table, action, flags."""
_ROUTE = struct.Struct("=BBBBBBBBI")
_FRA_DST, _FRA_SRC, _FRA_PRIORITY, _FRA_SUPPRESS, _FRA_TABLE, _FRA_PROTOCOL = 1, 2, 6, 14, 15, 21
_RTA_OIF, _RTA_GATEWAY, _RTA_TABLE = 4, 5, 15
_TO_TABLE, _UNICAST, _ON_LINK = 1, 1, 4
_ATTRIBUTE = struct.Struct("=HH")


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """Which table packets are routed by. source, target: None for all."""

    priority: int
    table: int
    source: IPv4Network | None = None
    target: IPv4Network | None = None

    def __str__(self) -> str:
        told = f"rule {self.priority}: from {self.source or 'all'}"
        return f"{told}{f' to {self.target}' if self.target else ''} lookup {self.table}"


@dataclass(frozen=True, slots=True, order=True)
class Way:
    """The default route of one table."""

    table: int
    gateway: IPv4Address
    interface: str

    def __str__(self) -> str:
        return f"route: default via {self.gateway} dev {self.interface} table {self.table}"


@dataclass(frozen=True, slots=True)
class Policy:
    """All that is to be there."""

    rules: frozenset[Rule] = frozenset()
    ways: tuple[Way, ...] = ()

    def spoken(self) -> list[str]:
        """Each change in words: they go into the file of changes."""
        return [*map(str, sorted(self.rules)), *map(str, self.ways)]


def policy(uplinks: Sequence[Uplink], return_: str) -> Policy:
    """What `farm.return` asks for: "source" or "owner"."""
    if not uplinks:
        return Policy()
    tables = {one.name: TABLE + nth for nth, one in enumerate(uplinks)}
    mine = here(uplinks)
    ways = tuple(Way(tables[one.name], one.gateway, one.interface or "") for one in mine)
    if return_ == "owner":
        rules = [Rule(_FROM, ways[0].table, one.prefix) for one in uplinks]
    else:
        rules = [Rule(_FROM, tables[one.name], one.prefix) for one in mine]
        rules += [
            Rule(_BETWEEN, tables[one.name], one.prefix, other.prefix)
            for one in mine
            for other in mine
            if one is not other
        ]
    return Policy(frozenset((*rules, Rule(_SPECIFIC, _MAIN))), ways)


def converge(netlink: RtNetlink, wanted: Policy) -> None:
    """Have exactly this. OSError when the kernel refuses, as for an interface that is down."""
    there = set(_rules(netlink))
    for rule in there - wanted.rules:
        _change_rule(netlink, _DELETE_RULE, 0, rule)
    for table in set(_tables(netlink)) - {way.table for way in wanted.ways}:
        _delete_default(netlink, table)
    for way in wanted.ways:
        _add_default(netlink, way)
    for rule in sorted(wanted.rules - there):
        _change_rule(netlink, _NEW_RULE, _CREATE, rule)


def remove(netlink: RtNetlink) -> None:
    """Take all of ours away."""
    with suppress(OSError):  # a kernel without rules
        for rule in list(_rules(netlink)):
            with suppress(OSError):
                _change_rule(netlink, _DELETE_RULE, 0, rule)
    for table in set(_tables(netlink)):
        with suppress(OSError):
            _delete_default(netlink, table)


def _rules(netlink: RtNetlink) -> Iterator[Rule]:
    body = _RULE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0)
    for message in netlink.dump(_GET_RULE, body):
        _, to, length, _, table, _, _ = _RULE.unpack_from(message)
        said = _attributes(message[_RULE.size :])
        if said.get(_FRA_PROTOCOL) != bytes((MARK,)):
            continue
        yield Rule(
            _number(said.get(_FRA_PRIORITY)),
            _number(said.get(_FRA_TABLE)) or table,
            _network(said.get(_FRA_SRC), length),
            _network(said.get(_FRA_DST), to),
        )


def _tables(netlink: RtNetlink) -> Iterator[int]:
    """The tables other than the kernel's own that have a route of ours."""
    body = _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
    for message in netlink.dump(_GET_ROUTE, body):
        _, _, _, _, table, protocol, _, _, _ = _ROUTE.unpack_from(message)
        number = _number(_attributes(message[_ROUTE.size :]).get(_RTA_TABLE)) or table
        if protocol == MARK and number >= TABLE:
            yield number


def _change_rule(netlink: RtNetlink, kind: int, flags: int, rule: Rule) -> None:
    source, target = rule.source, rule.target
    body = _RULE.pack(
        socket.AF_INET,
        target.prefixlen if target else 0,
        source.prefixlen if source else 0,
        0,
        0,
        _TO_TABLE,
        0,
    )
    if target:
        body += _packed(_FRA_DST, target.network_address.packed)
    if source:
        body += _packed(_FRA_SRC, source.network_address.packed)
    body += _packed(_FRA_PRIORITY, struct.pack("=I", rule.priority))
    body += _packed(_FRA_TABLE, struct.pack("=I", rule.table))
    if rule.table == _MAIN:
        body += _packed(_FRA_SUPPRESS, struct.pack("=I", 0))
    netlink.change(kind, flags, body + _packed(_FRA_PROTOCOL, bytes((MARK,))))


def _add_default(netlink: RtNetlink, way: Way) -> None:
    body = _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, MARK, 0, _UNICAST, _ON_LINK)
    body += _packed(_RTA_TABLE, struct.pack("=I", way.table))
    body += _packed(_RTA_GATEWAY, way.gateway.packed)
    body += _packed(_RTA_OIF, struct.pack("=I", socket.if_nametoindex(way.interface)))
    netlink.change(_NEW_ROUTE, _REPLACE, body)


def _delete_default(netlink: RtNetlink, table: int) -> None:
    body = _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, MARK, 0, 0, 0)
    netlink.change(_DELETE_ROUTE, 0, body + _packed(_RTA_TABLE, struct.pack("=I", table)))


def _packed(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(raw: bytes) -> dict[int, bytes]:
    found, position = {}, 0
    while position + _ATTRIBUTE.size <= len(raw):
        size, kind = _ATTRIBUTE.unpack_from(raw, position)
        found[kind] = raw[position + _ATTRIBUTE.size : position + size]
        position += max((size + 3) & ~3, _ATTRIBUTE.size)
    return found


def _number(raw: bytes | None) -> int:
    return int(struct.unpack("=I", raw)[0]) if raw and len(raw) == 4 else 0


def _network(raw: bytes | None, length: int) -> IPv4Network | None:
    return IPv4Network((raw, length), strict=False) if raw else None
