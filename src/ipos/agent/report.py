# SPDX-License-Identifier: Apache-2.0
"""The document of `ipos status`, which agent and command both make."""

from typing import Any

from ipos.agent.views import View, server_list, service_list
from ipos.inic import built
from ipos.inic.kernel import objects_directory


def status(view: View, agent: str) -> dict[str, Any]:
    """This server, the farm as it sees it, and how full its tables are."""
    snapshot = view.snapshot
    return {
        "farm": snapshot.farm,
        "server": snapshot.me,
        "agent": agent,
        "programs": built.compare(view.tables.directory.parent, objects_directory()),
        "servers": server_list(view),
        "services": service_list(view),
        "connections": connections(view),
        "datagrams": snapshot.datagrams,
    }


def connections(view: View) -> dict[str, int]:
    """Rows of each connection table."""
    tables = view.tables
    return {
        "local": tables.local.count(),
        "forward_connect": tables.connect.count(),
        "forward": tables.forward.count(),
        "temporary": tables.temporary.count(),
        "held": tables.holding.count(),
    }
