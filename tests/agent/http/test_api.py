# SPDX-License-Identifier: Apache-2.0
"""The API's answers, by request; and over its real socket with the command's own client."""

import asyncio
import functools
import json
import os
import re
import shutil
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from ipos import __version__
from ipos.abi.layout import header
from ipos.abi.rows import ServerState
from ipos.agent.http import http_server
from ipos.agent.http.agent_control import NoSuchServer, Reloads, Wanted
from ipos.agent.http.api import application
from ipos.agent.view.watchers import Watching
from ipos.cli.client import Unanswered, ask, follow
from ipos.errors import IposError
from tests.agent.running import Running
from tests.agent.view.test_events import record


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


RUNNING = Running()


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


def test_every_server_is_examined(client: Client) -> None:
    (found,) = client.get("/v1/doctor").json()
    assert (found["server"], found["answered"]) == ("s1", True)


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
    assert all(re.fullmatch("[a-z][a-z0-9_]{2,40}", each) for each in said), "codes, no sentences"
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


def test_what_an_alert_needs_of_services_and_of_the_agent(client: Client, running: Running) -> None:
    text = client.get("/metrics").text
    found = {family.name: family.samples for family in text_string_to_metric_families(text)}
    web = {"service": "web"}
    assert [(s.labels, s.value) for s in found["ipos_service_servers"]] == [(web, 3)]
    assert [s.value for s in found["ipos_service_served_here"]] == [1]
    assert [s.labels for s in found["ipos_build_info"]] == [{"version": __version__}]
    for name, value in (("faults", 0), ("config_last_reload_successful", 1)):
        assert [s.value for s in found[f"ipos_{name}"]] == [value]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_no_fault(client: Client) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=client.get("/metrics").text, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_decision_is_counted_by_a_short_code_of_its_reason(
    client: Client, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_name = {"SESSION_MOVED": 3, "DROP_NO_SERVER": 5, "AMBIGUOUS_LINE_FEED": 7}
    counted = [(each, by_name.get(each.name, 0)) for each in header().counters]
    monkeypatch.setattr(running.tables, "counters", lambda: counted)
    text = client.get("/metrics").text
    found = {family.name: family for family in text_string_to_metric_families(text)}
    assert {s.labels["reason"]: s.value for s in found["ipos_decisions"].samples if s.value} == {
        "session_moved": 3,
        "no_server": 5,
        "head_line_feed": 7,
    }


@contextmanager
def served(running: Running) -> Iterator[None]:
    """The real thing on its socket, in a loop of its own."""
    started = threading.Event()
    loop = asyncio.new_event_loop()
    listener = http_server.listen(Path(os.environ["IPOS_RUN_DIR"]) / "api.sock")

    async def run() -> None:
        started.set()
        await http_server.serve(listener, running)

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
        with http_server.listen(run_dir / "api.sock"):
            assert stat.S_IMODE((run_dir / "api.sock").stat().st_mode) == 0o660


def test_a_socket_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(IposError, match="cannot make the API's socket"):
        http_server.listen(tmp_path / ("x" * 200))


def test_the_commands_client(run_dir: Path, running: Running) -> None:
    with served(running):
        assert ask("GET", "/v1/status")["server"] == "s1"
        assert ask("PUT", "/v1/servers/s2/state", {"state": "maint"}) is None
        assert running.orders == [("s2", ServerState.MAINT)]
        running.refusal = "line 3: port is too large"
        with pytest.raises(IposError, match="line 3: port is too large"):
            ask("POST", "/v1/reload")
        with pytest.raises(IposError, match="there is nothing at /v1/nope"):
            ask("GET", "/v1/nope")


def test_what_is_not_there_is_said_in_json(client: Client) -> None:
    nowhere, wrong = client.get("/v1/nope"), client.post("/v1/status")
    assert nowhere.status_code == 404
    assert nowhere.json()["error"].startswith("there is nothing at /v1/nope; docs/commands.md")
    assert wrong.status_code == 405
    assert wrong.json()["error"].startswith("this method is not for /v1/status")


def test_a_body_has_a_bound_and_may_be_nested_as_it_likes(client: Client) -> None:
    for path, wanted in (("state", "the body must be"), ("weight", "the body must be")):
        for body in (b"", b"[" * 4096, b'{"a":' * 800, b"\xff", b"9" * 4096, b"null", b"[]"):
            answer = client.put(f"/v1/servers/s2/{path}", content=body)
            assert answer.status_code == 400, body[:9]
            assert wanted in answer.json()["error"]
        answer = client.put(f"/v1/servers/s2/{path}", content=b" " * 4097)
        assert answer.status_code == 413
        assert "at most 4096 bytes" in answer.json()["error"]


PIECES = st.sampled_from(
    [
        *("http://", "https://", "203.0.113.1", "/", "?", "#", "[", "]", "[::1]", ":", ":80", "@"),
        *(":99999999999", ":-1", "\0", "\r\n", "\u00e9", "%", "%00", "%zz", "%aa", "..", "/../"),
        *("a" * 5000, "*", "xn--", "0x7f", "IPOS=", "; ", "=", "\u2100", "\u0661"),
    ]
)


@settings(deadline=None, max_examples=200)
@given(st.lists(PIECES, max_size=6), st.lists(PIECES, max_size=3), st.lists(PIECES, max_size=3))
def test_any_question_has_an_answer(url: list[str], client: list[str], cookie: list[str]) -> None:
    asked = {"client": "".join(client), "cookie": "".join(cookie), "service": "".join(client)}
    to = Client(application(RUNNING))
    for path in ("/v1/explain", "/v1/routes/test"):
        for start in ("", "http://203.0.113.1/"):
            answer = to.get(path, params={"url": start + "".join(url), **asked})
            assert answer.status_code in (200, 400, 409), (url, client, cookie)
            assert answer.json()


def test_a_request_for_another_server_is_not_carried_out(client: Client, running: Running) -> None:
    body, another = {"state": "drain"}, {"Ipos-Server": "s9"}
    answer = client.put("/v1/servers/s2/state", json=body, headers=another)
    assert (answer.status_code, running.orders) == (421, [])
    assert answer.json()["error"] == "the agent that runs here is that of s1 of farm shop"
    assert client.get("/v1/status", headers={"Ipos-Farm": "shop", "Ipos-Server": "s1"}).is_success
    assert client.get("/v1/status", headers={"Ipos-Farm": "other"}).status_code == 421


def test_a_command_for_another_server_gets_no_answer_from_this_agent(
    run_dir: Path, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(running):
        monkeypatch.setenv("IPOS_SERVER", "s9\r\nX: y")
        with pytest.raises(Unanswered, match="is that of s1 of farm shop"):
            ask("GET", "/v1/status")
        with pytest.raises(IposError, match="is that of s1 of farm shop") as refused:
            ask("POST", "/v1/reload")
        assert not isinstance(refused.value, Unanswered), "it is no agent that will read it later"
        assert running.reloads == 0


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 200 OK\r\n\r\n{", b"\0\xff\n\n", b"x y\n\n"])
def test_what_is_no_agent_is_a_sentence(run_dir: Path, answer: bytes) -> None:
    with http_server.listen(run_dir / "api.sock") as listener:
        listener.setblocking(True)

        def serve() -> None:
            one, _ = listener.accept()
            with one:
                one.recv(4096)
                one.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(IposError):
            ask("GET", "/v1/status")
        thread.join()


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
    with http_server.listen(run_dir / "api.sock"), pytest.raises(Unanswered):
        ask("GET", "/v1/status", patience_s=0.05)


def test_an_unknown_server_is_not_found(client: Client, running: Running) -> None:
    async def nobody(server: str, wanted: Wanted) -> None:
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
