# SPDX-License-Identifier: Apache-2.0
"""Shows the running demo: a live view on a terminal, plain lines anywhere else.

Both write to stderr; stdout is for the report.
"""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from ipos.demo.farm import ServerView
from ipos.demo.tally import Tally

LINE_EVERY_S = 1.0
_BAR = 12


class Screen(Protocol):
    """Where progress is shown, as a context manager."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def phase(self, text: str) -> None:
        """What happens now."""

    def show(self, tally: Tally, servers: Sequence[ServerView]) -> None:
        """How it goes."""


class Lines:
    """A line for each phase, and one a second in between."""

    def __init__(self) -> None:
        self._last = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def phase(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def show(self, tally: Tally, servers: Sequence[ServerView]) -> None:
        now = time.monotonic()
        if now - self._last < LINE_EVERY_S:
            return
        self._last = now
        answered = ", ".join(
            f"{server.name} {tally.answered_by.get(server.name, 0)}" for server in servers
        )
        print(
            f"  {tally.requests} requests, {tally.failures} failed, {tally.migrated} migrated; "
            f"answered by {answered}",
            file=sys.stderr,
            flush=True,
        )


class Live:
    """A table that is redrawn in place."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._live = RichLive(console=Console(stderr=True), refresh_per_second=8)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def phase(self, text: str) -> None:
        self._live.console.print(text, highlight=False)

    def show(self, tally: Tally, servers: Sequence[ServerView]) -> None:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE, padding=0, caption=_caption(tally), caption_justify="left")
        table.add_column("server")
        table.add_column("state")
        table.add_column("answered", justify="right")
        table.add_column("", width=_BAR)
        for name in ("migrated", "temporary", "local", "forward", "forward-\nconnect"):
            table.add_column(name, justify="right")
        for server in servers:
            answered = tally.answered_by.get(server.name, 0)
            share = answered / max(1, tally.requests - tally.failures)
            table.add_row(
                server.name,
                server.state if server.state == "ready" else f"[yellow]{server.state}[/]",
                str(answered),
                "[green]" + "█" * round(share * _BAR) + "[/]",
                str(server.migrated_away),
                str(server.temporary),
                str(server.local),
                str(server.forward),
                str(server.forward_connect),
            )
        self._live.update(table)


def _caption(tally: Tally) -> str:
    failed = f"[bold red]{tally.failures} failed[/]" if tally.failures else "0 failed"
    share = tally.migrated / max(1, tally.requests)
    return f"{tally.requests} requests, {failed}, {tally.migrated} migrated ({share:.0%})"


def screen() -> Screen:
    """The one for this stderr."""
    return Live() if sys.stderr.isatty() else Lines()
