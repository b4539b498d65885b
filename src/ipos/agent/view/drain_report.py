# SPDX-License-Identifier: Apache-2.0
"""What `ipos drain` says of a server that is to lose its connections, and whether it may."""

import time
from typing import Any

from ipos.abi import rows
from ipos.agent.snapshot.snapshot import Advertised
from ipos.agent.view.table_views import View
from ipos.config.slots import is_slot
from ipos.errors import IposError


class NoSuchReport(IposError):
    """A server does not drain, or is none of the farm's."""


def drain_report(view: View, name: str) -> dict[str, Any]:
    """How far a server is, as `ipos drain -o json` prints it. NoSuchReport when it does not drain.

    `left` is null until the server has looked for the first time.
    """
    said = next((one for one in view.snapshot.servers if one.server == name), None)
    if said is None:
        known = ", ".join(sorted(one.server for one in view.snapshot.servers))
        raise NoSuchReport(f"no server is called {name}; there are {known}")
    row = view.tables.servers.get(said.index)
    if row is None or row.state is not rows.ServerState.DRAIN:
        raise NoSuchReport(f"{name} does not drain: `ipos drain {name}` orders it")
    leaving = said.leaving
    held = [one.address for one in view.snapshot.addresses if one.holder == name]
    return {
        "server": name,
        "since": leaving.since_ms / 1000 if leaving else None,
        "deadline": _in_s(leaving.deadline_ms) if leaving else None,
        "moved": leaving.moved if leaving else 0,
        "handed_back": leaving.handed_back if leaving else 0,
        "reset": leaving.reset if leaving else 0,
        "left": leaving.left if leaving else None,
        "forwards": leaving.forwards if leaving else 0,
        "unattached": leaving.unattached if leaving else 0,
        "addresses": held,
        "empty": leaving is not None and not leaving.left,
    }


def _in_s(deadline_ms: int) -> float | None:
    return max(0.0, round(deadline_ms / 1000 - time.time(), 1)) if deadline_ms else None


def only_server_of(view: View, name: str) -> str:
    """What nobody but this server can serve now, for people; empty when there is no such thing.

    That is a service, or a pool of one that its routes lead to. Spawned programs do not count: they
    are always on one server.
    """
    servers = {one.index: one for one in view.snapshot.servers}
    mine = next((index for index, one in servers.items() if one.server == name), 0)
    keys = enumerate(view.snapshot.pools)
    used = [number for number, key in keys if key and not is_slot(key.partition(" ")[0])]
    for number in used:
        pool = view.tables.pools.get(number)
        candidates = {one.server for one in pool.candidates} if pool else set()
        if mine not in candidates or any(
            _is_ready(view, servers, other) for other in candidates - {mine}
        ):
            continue
        return _called(view, number)
    return ""


def _is_ready(view: View, servers: dict[int, Advertised], index: int) -> bool:
    row, said = view.tables.servers.get(index), servers.get(index)
    return row is not None and row.state is rows.ServerState.READY and not (said and said.fault)


def _called(view: View, pool: int) -> str:
    """A pool in the words of its configuration."""
    snapshot = view.snapshot
    key = snapshot.pools[pool] if pool < len(snapshot.pools) else ""
    label = snapshot.labels[pool] if pool < len(snapshot.labels) else ""
    service = key.partition(" ")[0] or "a service"
    return f"pool {label} of service {service}" if label else f"service {service}"
