# SPDX-License-Identifier: Apache-2.0
"""Makes the document of `ipos status`. The agent and the command use it."""

from typing import Any

from ipos.agent.snapshot.snapshot import Snapshot
from ipos.agent.view.table_views import View, server_list, service_list
from ipos.kernel import build
from ipos.kernel.data_plane import objects_directory

SCHEMA = 2
"""Of the document below: one more whenever a key changes its meaning or goes."""


def status(view: View, agent: str) -> dict[str, Any]:
    """This server, the farm as it sees it, and how full its tables are."""
    snapshot = view.snapshot
    return {
        "schema": SCHEMA,
        "farm": snapshot.farm,
        "server": snapshot.me,
        "agent": agent,
        "undone": snapshot.undone,
        "programs": programs(view),
        "servers": server_list(view),
        "services": service_list(view),
        "addresses": address_list(view),
        "connections": connections(view),
        "datagrams": snapshot.datagrams,
        "troubles": troubles(snapshot),
    }


def programs(view: View) -> str:
    """Whether the loaded programs are of this version: "current", "other" or "unknown"."""
    return build.compare(view.tables.directory.parent, objects_directory())


def troubles(snapshot: Snapshot) -> list[str]:
    """What is wrong with this server and the others, in sentences."""
    return [*snapshot.faults(), *snapshot.troubles, *snapshot.strangers, *snapshot.absences]


def address_list(view: View) -> list[dict[str, Any]]:
    """The service addresses and who holds them, as `ipos address list -o json` prints them."""
    return [
        {
            "address": one.address,
            "server": one.server,
            "holder": one.holder or None,
            "since": view.age_s(one.since_ns) if one.since_ns else None,
            "why": one.why,
        }
        for one in view.snapshot.addresses
    ]


def connections(view: View) -> dict[str, int]:
    """Rows of each connection table, of both families."""
    both = view.families()
    return {
        "local": sum(tables.local.count() for tables in both),
        "forward_connect": sum(tables.connect.count() for tables in both),
        "forward": sum(tables.forward.count() for tables in both),
        "temporary": sum(tables.temporary.count() for tables in both),
        "held": sum(tables.holding.count() for tables in both),
    }
