# SPDX-License-Identifier: Apache-2.0
"""The identified sessions that this server knows, for `ipos session list` and for metrics."""

import sys
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

from ipos.abi import rows
from ipos.agent.view.table_views import View
from ipos.errors import IposError
from ipos.ip_family import identity
from ipos.selection import identities

ADDRESS_ONLY = "-"
"""Where a session is of a server that the farm does not know any more."""


class NoSuchServerHere(IposError):
    """No server has that name."""


def session_list(view: View, server: str = "") -> list[dict[str, Any]]:
    """One row for each session that lives, those that end first before the others.

    server: only its sessions.
    """
    names = server_names(view)
    if server and server not in names.values():
        known = ", ".join(sorted(names.values()))
        raise NoSuchServerHere(f"no server is called {server}; there are {known}")
    services = _services(view)
    found = []
    for key, row in _sessions(view):
        name = "" if _is_revoked(row) else names.get(row.server_ip, ADDRESS_ONLY)
        if server and name != server:
            continue
        found.append(
            {
                "session": identifier(key),
                "service": services.get(key.service_port, ADDRESS_ONLY),
                "port": key.service_port,
                "server": name or None,
                "state": "revoked" if _is_revoked(row) else "live",
                "moves": 0 if _is_revoked(row) else row.turn - 1,
                "expires": view.wall_s(row.expires_ns),
            }
        )
    return sorted(found, key=lambda one: (one["expires"], one["session"]))


def session_counts(view: View) -> Counter[str]:
    """How many sessions live, by their server's name."""
    names = server_names(view)
    counts = Counter(dict.fromkeys(names.values(), 0))
    for _, row in _sessions(view):
        if not _is_revoked(row):
            counts[names.get(row.server_ip, ADDRESS_ONLY)] += 1
    return counts


def has_sessions(view: View) -> bool:
    """Whether a service's sessions are identified ones."""
    return any(row.kind is rows.SessionKind.IDENTIFY for _, row in view.tables.sessions.items())


def server_names(view: View) -> dict[IPv4Address, str]:
    """The servers' names by the four bytes that rows of the Cookie map have for them."""
    return {
        IPv4Address(identity(one.addresses, int(IPv4Address(one.back_ip)))): one.server
        for one in view.snapshot.servers
        if one.server
    }


def identifier(key: rows.CookieKey) -> str:
    """As it stands at the beginning of the cookie's value."""
    return key.hash.to_bytes(identities.SIZE, sys.byteorder).hex()


def _sessions(view: View) -> Iterator[tuple[rows.CookieKey, rows.Cookie]]:
    for key, row in view.tables.cookies.items():
        if row.turn and row.expires_ns >= view.now_ns:
            yield key, row


def _is_revoked(row: rows.Cookie) -> bool:
    return row.turn == identities.REVOKED


def _services(view: View) -> dict[int, str]:
    found: dict[int, str] = {}
    for index, name in enumerate(view.snapshot.services):
        service = view.tables.services.get(index)
        if service is not None and service.used:
            found.setdefault(service.port, name)
    return found
