# SPDX-License-Identifier: Apache-2.0
"""The terminal of `ipos top`."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.coordinate import Coordinate
from textual.widgets import DataTable, Footer, Input, Static

from ipos.cli.status import faults_of, verdict
from ipos.errors import IposError
from ipos.top.looks import SORTS, Looks, Row

Ask = Callable[..., Any]
_TABLES = {
    "servers": ("server", "state", "weight", "conns", "cpu", "free", "cpu of late"),
    "services": ("service", "req/s", "refused/s", "half", "p99", "port", "policy", "servers"),
    "routes": ("req/s", "refused/s", "service", "route"),
    "counted": ("counter", "per second", "total", "of late"),
}
"""Rates stand before what may be long, so that 80 columns have them."""
_NUMBERS = {"weight", "conns", "cpu", "free", "req/s", "refused/s", "half", "p99", "port",
            "per second", "total"}  # fmt: skip
_STATES = {"ready": "green", "down": "bold red", "out": "bold red"}
_OURS = ("drain", "weigh", "sort", "filter", "quit", "leave")


class Top(App[None]):
    """ask: a request to the agent, as `ipos.cli.client.ask`. every: seconds between two looks."""

    TITLE = "ipos top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #verdict { height: auto; padding: 0 1; text-style: bold; }
    #flows { height: auto; padding: 0 1; color: $text-muted; }
    #faults { height: auto; max-height: 6; padding: 0 1; color: $error; }
    #say { display: none; dock: bottom; margin-bottom: 1; }
    DataTable { height: auto; max-height: 60%; margin-bottom: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("d", "drain", "drain/ready"),
        ("w", "weigh", "weight"),
        ("s", "sort", "sort"),
        ("slash", "filter", "filter"),
        ("q", "quit", "quit"),
        ("escape", "leave", "back"),
    ]

    def __init__(self, ask: Ask, every: float) -> None:
        super().__init__()
        self._ask = ask
        self._every = every
        self._looks = Looks()
        self._sort = SORTS[0]
        self._only = ""
        self._saying = ""

    def compose(self) -> ComposeResult:
        yield Static("asking the agent", id="verdict")
        yield Static("", id="faults")
        yield Static("", id="flows")
        with VerticalScroll():
            for name in _TABLES:
                yield DataTable(id=name, cursor_type="row", zebra_stripes=True)
        yield Input(id="say")
        yield Footer()

    async def on_mount(self) -> None:
        for name, header in _TABLES.items():
            columns = (_cell(column, column) if column in _NUMBERS else column for column in header)
            self.query_one(f"#{name}", DataTable).add_columns(*columns)
        self.query_one("#servers", DataTable).focus()
        await self.look()
        self.set_interval(self._every, self.look)

    async def look(self) -> None:
        """Ask the agent, in a thread, and show what it says."""
        try:
            status = await asyncio.to_thread(self._ask, "GET", "/v1/status")
            counters = await asyncio.to_thread(self._ask, "GET", "/v1/counters")
            traffic = await asyncio.to_thread(self._ask, "GET", "/v1/traffic")
        except IposError as error:
            for verdict_line in self.query("#verdict").results(Static):
                verdict_line.update(str(error))
            return
        self._looks.take(status, counters, time.monotonic(), traffic)
        if self.query("#verdict"):  # nothing is left of the screen when it was closed meanwhile
            self._show()

    def _show(self) -> None:
        status = self._looks.status
        self.query_one("#verdict", Static).update(verdict(status))
        faults = list(faults_of(status))
        self.query_one("#faults", Static).update("\n".join(faults))
        self.query_one("#faults", Static).display = bool(faults)  # else it takes an empty line
        self.query_one("#flows", Static).update(self._looks.flows())
        self._fill("servers", self._looks.servers(self._sort, self._only))
        self._fill("services", self._looks.services(self._only))
        self._fill("routes", self._looks.routes(self._only))
        self._fill("counted", self._looks.counted(self._only))

    def _fill(self, name: str, rows: Sequence[Row]) -> None:
        """Cells are written over where they can be, so that the cursor stays."""
        table = self.query_one(f"#{name}", DataTable)
        while table.row_count > len(rows):
            last, _ = table.coordinate_to_cell_key(Coordinate(table.row_count - 1, 0))
            table.remove_row(last)
        for at, row in enumerate(rows):
            cells = [_cell(*each) for each in zip(_TABLES[name], row, strict=True)]
            if at >= table.row_count:
                table.add_row(*cells)
                continue
            before = table.get_row_at(at)
            for column, cell in enumerate(cells):
                if cell != before[column]:
                    table.update_cell_at(Coordinate(at, column), cell, update_width=True)

    def _chosen(self) -> str:
        table = self.query_one("#servers", DataTable)
        return str(table.get_row_at(table.cursor_row)[0]) if table.row_count else ""

    async def _order(self, path: str, body: dict[str, Any]) -> None:
        try:
            await asyncio.to_thread(self._ask, "PUT", path, body)
        except IposError as error:
            self.notify(str(error), severity="error", timeout=10)
        await self.look()

    async def action_drain(self) -> None:
        """The server under the cursor gets nothing new, or is ready again."""
        server = self._chosen()
        rows = [row for row in self._looks.status["servers"] if row["server"] == server]
        if rows:
            state = "ready" if rows[0]["state"] in ("drain", "maint") else "drain"
            await self._order(f"/v1/servers/{quote(server, safe='')}/state", {"state": state})

    def action_sort(self) -> None:
        self._sort = SORTS[(SORTS.index(self._sort) + 1) % len(SORTS)]
        self.notify(f"servers by {self._sort}", timeout=2)
        self._show()

    def action_weigh(self) -> None:
        if self._chosen():
            self._question("weight", f"weight of {self._chosen()}, empty: as configured")

    def action_filter(self) -> None:
        self._question("filter", "show names with")

    def _question(self, what: str, text: str) -> None:
        self._saying = what
        box = self.query_one("#say", Input)
        box.placeholder, box.value, box.display = text, "", True
        box.focus()
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While something is typed, letters are none of ours and escape leads back."""
        types = any(box.display for box in self.query("#say"))
        return types == (action == "leave") or action not in _OURS

    def action_leave(self) -> None:
        self.query_one("#say", Input).display = False
        self.query_one("#servers", DataTable).focus()
        self.refresh_bindings()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        said, server = event.value.strip(), self._chosen()
        self.action_leave()
        if self._saying == "filter":
            self._only = said
            self._show()
        elif said and not said.isdecimal():
            self.notify(f"{said} is no weight: 1 to 65535, or nothing", severity="error")
        else:
            path = f"/v1/servers/{quote(server, safe='')}/weight"
            await self._order(path, {"weight": int(said) if said else None})


def _cell(column: str, text: str) -> Text:
    """Numbers stand at the right, and states have their colours."""
    if column == "state":
        return Text(text, style=_STATES.get(text, "yellow"))
    return Text(text, justify="right" if column in _NUMBERS else "left")
