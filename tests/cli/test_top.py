# SPDX-License-Identifier: Apache-2.0
"""`ipos top`: rates and order, and the keys on a screen without a terminal."""

import asyncio
import copy
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Footer, Input, Static

from ipos.errors import IposError
from ipos.top.live_screen import Top
from ipos.top.looks import KEPT, Looks, sparkline
from tests.cli.test_status import DOCUMENT

SIZES = ((80, 24), (120, 40), (200, 60))


def test_a_sparkline_has_one_character_a_value() -> None:
    assert sparkline(deque([0, 0.5, 1.0]), 1.0) == " ▄█"
    assert sparkline(deque([1, 2])) == "▄█"
    assert sparkline(deque()) == ""
    assert sparkline(deque([5.0]), 1.0) == "█"


def test_rates_come_with_the_second_look_and_the_busiest_is_first() -> None:
    looks = Looks()
    looks.take(DOCUMENT, {"a": 1, "b": 10, "still": 5}, 100.0)
    assert looks.counted() == []
    looks.take(DOCUMENT, {"a": 5, "b": 30, "still": 5}, 102.0)
    assert [row[:3] for row in looks.counted()] == [("b", "10.0", "30"), ("a", "2.0", "5")]
    assert looks.counted(only="a")[0][0] == "a"
    for n in range(2 * KEPT):
        looks.take(DOCUMENT, {"a": 5, "b": 30, "still": 5}, 103.0 + n)
    assert len(looks.counted()[0][3]) == KEPT
    assert looks.counted()[0][1] == "0.0"


def test_connections_migrations_and_drops_in_a_line() -> None:
    looks = Looks()
    looks.take(DOCUMENT, {"migrated": 10, "drop_denied": 1, "drop_no_cookie": 1}, 100.0)
    assert looks.flows().startswith("local 3  connect 0  forward 2  temporary 0  held 0\n")
    assert looks.flows().endswith("migrated 0.0/s  dropped 0.0/s")
    looks.take(DOCUMENT, {"migrated": 30, "drop_denied": 2, "drop_no_cookie": 4}, 102.0)
    assert looks.flows().endswith("migrated 10.0/s  dropped 2.0/s")
    assert Looks().flows()


def test_servers_by_what_is_asked_for() -> None:
    document = copy.deepcopy(DOCUMENT)
    document["servers"][2]["cpu_utilisation"] = 0.9
    document["servers"][4]["tcp_connections"] = 10**6
    looks = Looks()
    looks.take(document, {}, 1.0)
    assert looks.servers()[0][0] == "server-1"
    assert looks.servers("cpu")[0][0] == "server-3"
    assert looks.servers("connections")[0][0] == "server-5"
    assert [row[0] for row in looks.servers(only="-4")] == ["server-4"]


def traffic(decided: int, refused: int) -> dict[str, Any]:
    """Of a service; half of its requests took less than 512 us, one in a hundred 65 ms."""
    request = [0] * 32
    request[9], request[16] = decided * 98 // 100, decided * 2 // 100
    return {
        "services": [
            {"service": "web", "decided": {"here": decided - 5, "away": 5},
             "refused": {"400": 0, "503": refused}, "request": request},
        ],
        "routes": [
            {"service": "web", "route": "*/", "decided": decided // 10, "refused": refused},
            {"service": "web", "route": "*/img/", "decided": decided, "refused": 0},
        ],
    }  # fmt: skip


def test_rates_and_times_of_services_and_routes() -> None:
    looks = Looks()
    looks.take(DOCUMENT, {}, 100.0, traffic(1000, 10))
    assert looks.routes() == []
    assert looks.services()[0][1:5] == ("", "", "", "")
    looks.take(DOCUMENT, {}, 102.0, traffic(3000, 20))
    assert looks.services()[0][1:5] == ("1,000.0", "5.0", "512 us", "65.5 ms")
    assert looks.routes() == [("1,000.0", "0.0", "web", "*/img/"), ("100.0", "5.0", "web", "*/")]
    assert looks.routes("img") == [("1,000.0", "0.0", "web", "*/img/")]
    looks.take(DOCUMENT, {}, 103.0, traffic(3000, 20))
    assert looks.services()[0][1:5] == ("0.0", "0.0", "", "")
    looks.take(DOCUMENT, {}, 104.0, {"services": [], "routes": []})
    assert looks.services()[0][1:5] == ("", "", "", "")


class Agent:
    """Answers as the agent's API; orders are kept."""

    def __init__(self) -> None:
        self.document = copy.deepcopy(DOCUMENT)
        self.orders: list[tuple[str, Any]] = []
        self.refusal = ""
        self.times = 0

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        if method == "PUT":
            if self.refusal:
                raise IposError(self.refusal)
            self.orders.append((path, body))
            return None
        if path == "/v1/traffic":
            self.times += 1
            return traffic(100 * self.times, 3 * self.times)
        return self.document if path == "/v1/status" else {"migrated": 7}


def on_screen(
    agent: Agent, size: tuple[int, int], use: Callable[[Pilot[None]], Awaitable[None]]
) -> None:
    async def live() -> None:
        screen = Top(agent.ask, 60.0)
        async with screen.run_test(size=size) as pilot:
            await pilot.pause()
            await use(pilot)

    asyncio.run(live())


@pytest.mark.parametrize("size", SIZES)
def test_what_is_on_the_screen(size: tuple[int, int]) -> None:
    agent = Agent()
    agent.document["troubles"] = ["10.77.0.9: its tag is wrong"]

    async def look(pilot: Pilot[None]) -> None:
        verdict = pilot.app.query_one("#verdict", Static)
        assert "1 fault: 6 of 6 servers ready" in str(verdict.render())
        table = pilot.app.query_one("#servers", DataTable)
        assert [str(table.get_row_at(at)[0]) for at in range(6)] == [
            f"server-{n}" for n in range(1, 7)
        ]
        assert table.virtual_size.width <= size[0]
        flows = str(pilot.app.query_one("#flows", Static).render())
        assert flows.startswith("local 3")
        assert all(len(line) < size[0] - 1 for line in flows.splitlines())  # cut at no number
        assert pilot.app.query_one("#flows").size.height == 2
        assert "10.77.0.9" in str(pilot.app.query_one("#faults", Static).render())
        agent.document["troubles"] = []
        await pilot.app.look()  # type: ignore[attr-defined]
        assert not pilot.app.query_one("#faults").display
        services = pilot.app.query_one("#services", DataTable)
        assert list(map(str, services.get_row_at(0)[3:5])) == ["512 us", "65.5 ms"]
        assert str(pilot.app.query_one("#routes", DataTable).get_row_at(0)[3]) == "*/img/"

    on_screen(agent, size, look)


def test_keys_give_orders() -> None:
    agent = Agent()

    async def type_keys(pilot: Pilot[None]) -> None:
        await pilot.press("down", "d")
        await pilot.press("w", "5", "0", "enter")
        await pilot.press("w", "x", "enter")
        agent.document["servers"][1]["state"] = "drain"
        await pilot.app.look()  # type: ignore[attr-defined]
        await pilot.press("d")
        await pilot.press("w", "enter")
        await pilot.pause()

    on_screen(agent, SIZES[0], type_keys)
    state, weight = (f"/v1/servers/server-2/{what}" for what in ("state", "weight"))
    assert agent.orders == [
        (state, {"state": "drain"}),
        (weight, {"weight": 50}),
        (state, {"state": "ready"}),
        (weight, {"weight": None}),
    ]


def test_a_refused_order_is_told_and_a_filter_filters() -> None:
    agent = Agent()
    agent.refusal = "server-1 is the last one that serves web"

    async def type_keys(pilot: Pilot[None]) -> None:
        await pilot.press("d")
        await pilot.pause()
        notes = [note.message for note in pilot.app._notifications]
        assert agent.refusal in notes
        await pilot.press("slash", "minus", "3", "enter")
        await pilot.pause()
        table = pilot.app.query_one("#servers", DataTable)
        assert (table.row_count, str(table.get_row_at(0)[0])) == (1, "server-3")

    on_screen(agent, SIZES[0], type_keys)


def test_escape_leaves_a_question_and_letters_are_letters_there() -> None:
    agent = Agent()

    async def type_keys(pilot: Pilot[None]) -> None:
        box = pilot.app.query_one("#say", Input)
        await pilot.press("slash", "d", "s", "q")
        assert (box.display, box.value) == (True, "dsq")
        assert box.region.bottom <= pilot.app.query_one(Footer).region.y
        keys = {binding.description for _, binding, on, _ in _bindings(pilot) if on}
        assert keys == {"back"}
        await pilot.press("escape")
        assert not box.display
        await pilot.press("d")
        await pilot.pause()

    on_screen(agent, SIZES[0], type_keys)
    assert agent.orders == [("/v1/servers/server-1/state", {"state": "drain"})]


def _bindings(pilot: Pilot[None]) -> list[Any]:
    """Those of the screen that are shown."""
    active = pilot.app.screen.active_bindings.values()
    return [each for each in active if each.binding.show and each.node is pilot.app]


def test_a_look_that_ends_after_the_screen_was_closed() -> None:
    """An agent that answers late answers nobody."""
    agent = Agent()
    asked, answer = threading.Event(), threading.Event()

    def ask(method: str, path: str, body: Any = None) -> Any:
        if asked.is_set():
            answer.wait(10)
        return agent.ask(method, path, body)

    async def live() -> None:
        screen = Top(ask, 60.0)
        async with screen.run_test(size=SIZES[0]) as pilot:
            await pilot.pause()
            asked.set()
            late = asyncio.create_task(screen.look())
            await pilot.pause()
        answer.set()
        await late

    asyncio.run(live())
