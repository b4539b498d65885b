# SPDX-License-Identifier: Apache-2.0
"""Rows of servers' own names, for services whose session redirects clients to them. Pure.

The names come from the session's template, and the servers from the states that the agents send.
"""

from collections.abc import Iterable, Mapping

from ipos.abi import rows
from ipos.abi.layout import layout
from ipos.agent.heartbeat.member import Member
from ipos.config.schema import Service
from ipos.kernel.maps import Tables
from ipos.selection.naming import Named, named
from ipos.selection.policies import ServerState
from ipos.wire.responses import redirect_place, redirect_start

_HOST = layout("ipos_name_key").field("host").size
_START = layout("ipos_redirect").field("start").size


def name_rows(
    numbered: Iterable[tuple[int, Service]], heard: Iterable[Member]
) -> tuple[dict[rows.NameKey, int], dict[rows.RedirectKey, rows.Redirect]]:
    """`names` and `redirects` of the services, numbered, whose session is a redirect."""
    names, redirects = {}, {}
    members = list(heard)
    for index, service in numbered:
        if service.session is None or service.session.kind != "redirect":
            continue
        for member in members:
            assert member.state is not None
            name = service.session.own_name(member.state.server)
            start = redirect_start(service.session.own_place(member.state.server, service.port))
            names[rows.NameKey(index, name.encode().ljust(_HOST, b"\0"))] = member.index
            redirects[rows.RedirectKey(index, member.index)] = rows.Redirect(
                len(start), start.ljust(_START, b"\0")
            )
    return names, redirects


def named_by(
    tables: Tables, index: int, host: str, pool: rows.Pool, servers: Mapping[int, rows.Server]
) -> Named | None:
    """What a host says of its server, by the maps' rows; None where sessions go by no name."""
    session, service = tables.sessions.get(index), tables.services.get(index)
    if session is None or service is None or session.kind is not rows.SessionKind.REDIRECT:
        return None
    listening = tables.pools.get(service.listening) or pool
    return named(
        host,
        {name: at for at, name in own_names(tables, index).items()},
        {at: ServerState(server.state) for at, server in servers.items()},
        *([one.server for one in each.candidates] for each in (pool, listening)),
    )


def own_places(tables: Tables, service: int) -> dict[int, str]:
    """Where clients are sent for every server of a service, by its index: a URL without a path."""
    return {
        key.server: redirect_place(row.start[: row.length])
        for key, row in tables.redirects.items()
        if key.service == service
    }


def own_names(tables: Tables, service: int) -> dict[int, str]:
    """Every server's name in a service, by its index."""
    return {
        index: key.host.rstrip(b"\0").decode()
        for key, index in tables.names.items()
        if key.service == service
    }
