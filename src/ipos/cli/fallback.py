# SPDX-License-Identifier: Apache-2.0
"""Asks the agent, and reads the pinned maps when no agent answers."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipos.agent.view.table_views import View

_PATIENCE_S = 2.0


def ask_or_read(path: str, read: Callable[["View"], Any]) -> Any:
    """GET `path`; when nobody answers, `read` makes the same document of this server's view.

    IposError when the agent refuses, NotLoaded when there is no data plane either.
    """
    from ipos.cli.client import Unanswered, ask

    try:
        return ask("GET", path, patience_s=_PATIENCE_S)
    except Unanswered as silence:
        from ipos.agent.view.table_views import open_view

        document = read(open_view())
        print(f"ipos: {silence}: this is what the pinned maps say", file=sys.stderr)
        return document
