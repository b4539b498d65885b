# SPDX-License-Identifier: Apache-2.0
"""Says what a cookie means for a request, by the rows of the data plane."""

import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from ipos.abi import rows
from ipos.abi.layout import constant
from ipos.agent.view.table_views import View
from ipos.kernel.decisions import reasons
from ipos.selection import identities, sessions
from ipos.selection.policies import ServerState
from ipos.selection.sessions import Standing

_NS = 1_000_000_000
_REASONS = {
    Standing.KEPT: "IPOS_REASON_SESSION",
    Standing.MOVED: "IPOS_REASON_SESSION_MOVED",
    Standing.ELSEWHERE: "IPOS_REASON_SESSION_AWAY",
}


@dataclass(frozen=True, slots=True)
class Stuck:
    """`server`: the index of who has the session and gets the request, None for "choose".

    `reason` is what `ipos watch` says of such a decision, empty where the cookie has no part in it;
    `note` says in a sentence what the cookie is.
    """

    server: int | None
    reason: str
    note: str


def stuck(
    view: View, index: int, cookie: str, pool: rows.Pool, servers: Mapping[int, rows.Server]
) -> Stuck:
    """cookie: as in a Cookie header, `name=value` and others. `pool`: its route's, `index`: the
    service.
    """
    session, service = view.tables.sessions.get(index), view.tables.services.get(index)
    kinds = (rows.SessionKind.INSERT, rows.SessionKind.LEARN, rows.SessionKind.IDENTIFY)
    if session is None or service is None or session.kind not in kinds:
        return Stuck(None, "", "the service keeps no sessions by cookie: it does not count")
    name = session.name.decode()
    value = sessions.cookie_of(cookie, name)
    if not value:
        return Stuck(None, "", f"there is no cookie {name} in it: a session begins")
    server, why = _named(view, session.kind, value, service.port)
    if server is None:
        return Stuck(None, "", f"cookie {name} names no server, because {why}: a session begins")
    address = view.tables.addresses.get(rows.AddressKey(server, service.port, rows.PROTOCOL_TCP))
    listening = view.tables.pools.get(service.listening) or pool
    choice = sessions.choose(
        address.holder if address is not None else _by_identity(servers, server),
        {at: ServerState(row.state) for at, row in servers.items()},
        *([one.server for one in each.candidates] for each in (pool, listening)),
        drains=session.kind is not rows.SessionKind.IDENTIFY,
        full=[
            at
            for at, row in servers.items()
            if not sessions.has_room(row.tcp_connections, row.limit)
        ],
    )
    reason = reasons()[constant(_REASONS[choice.standing])]
    return Stuck(choice.server, reason, f"cookie {name} names the server at {server}: {reason}")


def _by_identity(servers: Mapping[int, rows.Server], name: IPv4Address) -> int | None:
    """Which server frames and cookies name so, if it has no IPv4 service address."""
    return next((index for index, row in servers.items() if row.address == name), None)


def _named(
    view: View, kind: rows.SessionKind, value: str, port: int
) -> tuple[IPv4Address | None, str]:
    """The server that a cookie's value names, and why it names none."""
    if kind is rows.SessionKind.INSERT:
        return _inserted(view, value), "no server of the farm made its value"
    if kind is rows.SessionKind.LEARN:
        return _learned(view, value, port), "no server has learned it"
    main, other = _days(view)
    identity = identities.decode(value, main) or identities.decode(value, other)
    if identity is None:
        return None, "no server of the farm made its value"
    key = rows.CookieKey(int.from_bytes(identity, sys.byteorder), port)
    row = view.tables.cookies.get(key)
    if row is None or row.expires_ns < view.now_ns:
        return None, f"session {identity.hex()} has ended"
    if not int(row.server_ip):
        return None, f"session {identity.hex()} is revoked"
    return row.server_ip, ""


def _days(view: View) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """The keys of all days; then those that are believed, too."""
    days = [row for _, row in view.tables.session_keys.items() if row.valid]
    main = {row.epoch: struct.pack("<QQ", *row.key) for row in days}
    other = {
        row.epoch: struct.pack("<QQ", *row.other)
        for row in days
        if row.valid & constant("IPOS_KEY_OTHER")
    }
    return main, other


def _inserted(view: View, value: str) -> IPv4Address | None:
    main, other = _days(view)
    said = sessions.decode(value, main) or sessions.decode(value, other)
    return said.server if said is not None else None


def _learned(view: View, value: str, port: int) -> IPv4Address | None:
    settings = view.tables.settings.get(0)
    if settings is None:
        return None
    words = [settings.learn_key]
    if rows.SettingsFlags.KEYS_CHANGE in settings.flags:
        words.append(settings.other_learn_key)
    for key in words:
        known = sessions.learned_hash(value.encode(), struct.pack("<QQ", *key))
        row = view.tables.cookies.get(rows.CookieKey(known, port))
        if row is not None and row.expires_ns >= view.now_ns:
            return row.server_ip
    return None
