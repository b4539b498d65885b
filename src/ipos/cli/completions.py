# SPDX-License-Identifier: Apache-2.0
"""The names a shell can complete: of servers, labs and their nodes. A fault completes nothing."""

import os
from typing import Any


def servers(incomplete: str) -> list[str]:
    """Servers of the farm, as the agent last wrote them down."""
    from ipos.agent.host.paths import snapshot_file
    from ipos.agent.snapshot import snapshot

    return _beginning(incomplete, [one.server for one in snapshot.read(snapshot_file()).servers])


def labs(incomplete: str) -> list[str]:
    """Labs of this machine."""
    from ipos.lab import state

    return _beginning(incomplete, state.names())


def nodes(ctx: Any, incomplete: str) -> list[str]:
    """Nodes of the lab that the line names so far."""
    from ipos.lab import state
    from ipos.lab.plan import nodes as list_nodes

    name = ctx.params.get("name") or os.environ.get("IPOS_LAB", "farm")
    manifest = state.read(name)
    return _beginning(incomplete, list_nodes(manifest.settings) if manifest else ())


def _beginning(incomplete: str, names: Any) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
