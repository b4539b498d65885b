# SPDX-License-Identifier: Apache-2.0
"""The API's answers, by request; and over its real socket with the command's own client."""

import asyncio
import functools
import json
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from ipos.agent import apiserver
from ipos.agent.api import application
from ipos.agent.control import NoSuchServer, Reloads
from ipos.agent.watching import Watching
from ipos.cli.client import Unanswered, ask, follow
from ipos.errors import IposError
from ipos.inic.decisions import reasons, refused
from ipos.inic.layout import header
from ipos.inic.rows import ServerState
from tests.agent.running import Running
from tests.agent.test_events import record


class Client:
    """Asks the application itself, without a socket."""

    def __init__(self, asked: Starlette) -> None:
        self._asked = asked

    def request(self, method: str, path: str, **how: Any) -> httpx.Response:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(self._asked)
            async with httpx.AsyncClient(transport=transport, base_url="http://ipos") as client:
                return await client.request(method, path, **how)

        return asyncio.run(one())

    get = functools.partialmethod(request, "GET")
    put = functools.partialmethod(request, "PUT")
    post = functools.partialmethod(request, "POST")


@pytest.fixture
def running() -> Running:
    return Running()


@pytest.fixture
def client(running: Running) -> Client:
    return Client(application(running))


def test_status_and_servers(client: Client) -> None:
    status = client.get("/v1/status").json()
    assert (status["farm"], status["server"], status["agent"]) == ("shop", "s1", "running")
    assert [row["server"] for row in status["servers"]] == ["s1", "s2", "s3"]
    assert [row["service"] for row in status["services"]] == ["web"]
    assert client.get("/v1/servers").json() == status["servers"]


def test_routes(client: Client) -> None:
    (default,) = client.get("/v1/routes").json()
    assert (default["route"], default["service"], len(default["servers"])) == (None, "web", 3)
    asked = {"url": "http://www.example.org/a/../b", "service": "web"}
    found = client.get("/v1/routes/test", params=asked).json()
    assert (found["host"], found["path"], found["route"]) == ("www.example.org", "/b", None)
    assert found["reason"] == "the service has no routes"
    for wrong in ({}, {"url": "http://a/", "service": "x"}, {"url": "http://a:1/"}):
        refused = client.get("/v1/routes/test", params=wrong)
        assert refused.status_code == 400
        assert refused.json()["error"]


def test_explain(client: Client) -> None:
    found = client.get("/v1/explain", params={"url": "http://203.0.113.1/"}).json()
    assert found["service"] == "web"
    assert [one["server"] for one in found["servers"]] == ["s1", "s2", "s3"]
    for asked in ({}, {"url": "http://203.0.113.9/"}):
        refused = client.get("/v1/explain", params=asked)
        assert refused.status_code == 400
        assert refused.json()["error"]


def test_orders(client: Client, running: Running) -> None:
    assert client.put("/v1/servers/s2/state", json={"state": "drain"}).status_code == 204
    assert running.orders == [("s2", ServerState.DRAIN)]
    for body in ('{"state": "down"}', "{}", "[]", "drain", '{"state": 3}', '{"state": ["drain"]}'):
        refused = client.put("/v1/servers/s2/state", content=body)
        assert (refused.status_code, "drain, maint" in refused.json()["error"]) == (400, True)
    assert client.post("/v1/servers/s2/state").status_code == 405
    assert len(running.orders) == 1


def test_weights(client: Client, running: Running) -> None:
    for weight in (1, 65535, None):
        put = client.put("/v1/servers/s2/weight", json={"weight": weight})
        assert put.status_code == 204
    assert running.weights == [("s2", 1), ("s2", 65535), ("s2", 0)]
    for body in ("{}", "[]", "3", "weight", '{"weight": 0}', '{"weight": -1}', '{"weight": 65536}',
                 '{"weight": true}', '{"weight": "3"}', '{"weight": 1.5}'):  # fmt: skip
        refused = client.put("/v1/servers/s2/weight", content=body)
        assert (refused.status_code, "1 to 65535" in refused.json()["error"]) == (400, True)
    assert len(running.weights) == 3


def test_reload(client: Client, running: Running) -> None:
    assert client.post("/v1/reload").status_code == 204
    running.refusal = "line 3: port is too large"
    refused = client.post("/v1/reload")
    assert (refused.status_code, refused.json()) == (409, {"error": running.refusal})
    assert client.get("/v1/reload").status_code == 405
    assert running.reloads == 2


def test_metrics_have_every_counter_and_labels_of_closed_sets(client: Client) -> None:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {family.name: family for family in text_string_to_metric_families(answer.text)}
    counters = {sample.labels["counter"] for sample in found["ipos_packets"].samples}
    assert counters == {counter.name.lower() for counter in header().counters}
    said = [sample.labels["reason"] for sample in found["ipos_decisions"].samples]
    assert set(said) <= {*reasons().values(), *(refused(each) for each in header().ambiguities)}
    assert len(said) == len(set(said)) == 6 + len(header().ambiguities)
    states = found["ipos_server_state"].samples
    assert len(states) == 3 * 4
    assert {s.labels["server"] for s in states if s.labels["state"] == "ready" and s.value} == {
        "s1", "s2", "s3",
    }  # fmt: skip
    ages = {s.labels["server"]: s.value for s in found["ipos_server_age_seconds"].samples}
    assert ages == {"s1": 0.04, "s2": 0.04, "s3": 0.04}
    connections = {s.labels["server"]: s.value for s in found["ipos_server_connections"].samples}
    assert connections == {"s1": 10, "s2": 20, "s3": 30}
    assert {s.labels["table"] for s in found["ipos_table_rows"].samples} == {
        "local", "forward_connect", "forward", "temporary", "held",
    }  # fmt: skip
    assert [s.value for s in found["ipos_table_rows_limit"].samples] == [1000]
    assert [s.value for s in found["ipos_state_datagrams"].samples] == [2]
    assert found["ipos_agent_cpu_seconds"].samples[0].value > 0


def test_a_decision_is_counted_by_the_reason_that_watch_names(
    client: Client, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_name = {"SESSION_MOVED": 3, "DROP_NO_SERVER": 5, "AMBIGUOUS_LINE_FEED": 7}
    counted = [(each, by_name.get(each.name, 0)) for each in header().counters]
    monkeypatch.setattr(running.tables, "counters", lambda: counted)
    text = client.get("/metrics").text
    found = {family.name: family for family in text_string_to_metric_families(text)}
    assert {s.labels["reason"]: s.value for s in found["ipos_decisions"].samples if s.value} == {
        "the server of its session serves no more": 3,
        "no server is ready for the service": 5,
        "refused: a line that ends with LF alone": 7,
    }


@contextmanager
def served(running: Running) -> Iterator[None]:
    """The real thing on its socket, in a loop of its own."""
    started = threading.Event()
    loop = asyncio.new_event_loop()
    listener = apiserver.listen(Path(os.environ["IPOS_RUN_DIR"]) / "api.sock")

    async def run() -> None:
        started.set()
        await apiserver.serve(listener, running)

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    started.wait()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(running.stopping.set)
        thread.join()
        loop.close()
        listener.close()


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IPOS_RUN_DIR", str(tmp_path))
    return tmp_path


def test_the_socket_is_for_root_and_its_group(run_dir: Path) -> None:
    for _ in range(2):  # the second takes the place of the first
        with apiserver.listen(run_dir / "api.sock"):
            assert stat.S_IMODE((run_dir / "api.sock").stat().st_mode) == 0o660


def test_a_socket_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(IposError, match="cannot make the API's socket"):
        apiserver.listen(tmp_path / ("x" * 200))


def test_the_commands_client(run_dir: Path, running: Running) -> None:
    with served(running):
        assert ask("GET", "/v1/status")["server"] == "s1"
        assert ask("PUT", "/v1/servers/s2/state", {"state": "maint"}) is None
        assert running.orders == [("s2", ServerState.MAINT)]
        running.refusal = "line 3: port is too large"
        with pytest.raises(IposError, match="line 3: port is too large"):
            ask("POST", "/v1/reload")
        with pytest.raises(IposError, match="404"):
            ask("GET", "/nonsense")


def test_events_come_as_they_happen_and_end_with_the_agent(run_dir: Path, running: Running) -> None:
    with served(running):
        lines = follow("/v1/events")
        assert next(lines) == ""
        assert running.watched == [True]
        running.decided.append(record())
        assert json.loads(next(lines))["server"] == "s2"
        running.decided.append(record(server=3))
        assert json.loads(next(lines))["server"] == "s3"
    assert list(lines) == []
    assert running.watched == [True, False]


def test_who_goes_away_watches_no_more(run_dir: Path, running: Running) -> None:
    cleared = threading.Event()
    running.watching = Watching(lambda: running, lambda on: None if on else cleared.set())
    with served(running):
        lines = follow("/v1/events")
        assert next(lines) == ""
        del lines  # and with it the connection
        assert cleared.wait(10)


def test_nobody_there_is_said_so(run_dir: Path) -> None:
    with pytest.raises(Unanswered, match="no agent is running on this server"):
        ask("GET", "/v1/status")
    with apiserver.listen(run_dir / "api.sock"), pytest.raises(Unanswered):
        ask("GET", "/v1/status", patience_s=0.05)


def test_an_unknown_server_is_not_found(client: Client, running: Running) -> None:
    async def nobody(server: str, state: ServerState) -> None:
        raise NoSuchServer(f"no server is called {server}")

    running.order = nobody  # type: ignore[method-assign]
    refused = client.put("/v1/servers/s9/state", json={"state": "drain"})
    assert (refused.status_code, refused.json()) == (404, {"error": "no server is called s9"})


def test_a_reload_asked_for_during_another_has_its_own_answer() -> None:
    async def story() -> list[str]:
        reloads, said = Reloads(), []
        first = reloads.ask()
        reloads.begin()
        second = reloads.ask()
        reloads.end("")
        await asyncio.wait_for(reloads.wait(first), 1)
        assert reloads.is_due
        waiting = asyncio.create_task(reloads.wait(second))
        await asyncio.sleep(0.05)
        said.append("waits" if not waiting.done() else "done too early")
        reloads.begin()
        reloads.end("port is too large")
        with suppress(IposError):
            await asyncio.wait_for(waiting, 1)
            said.append("taken")
        return said

    assert asyncio.run(story()) == ["waits"]
