# SPDX-License-Identifier: Apache-2.0
"""Applications that a server starts for requests that find none, and stops when they are idle."""

import json
import os
import select
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipos.instance.record import Phase
from ipos.lab import Lab, Settings
from tests.farm.test_leaving import end
from tests.support.farm import Farm, read_answer, request, wait_until
from tests.support.usertcp import UserTcp

pytestmark = pytest.mark.farm

WEB, BROKEN, SLOW, CROWDED = 80, 8001, 8002, 8003
CLIENTS = 200
LOAD = 10
_RUN = f'exec {sys.executable} -m ipos.lab.application --name "$IPOS_SERVER" --listen 0.0.0.0:'


def _config(told: Path) -> str:
    """told: where each start of the application writes a line."""
    command = json.dumps(["/bin/sh", "-c", f'echo "$IPOS_SERVER $$" >>{told}; {_RUN}{WEB}'])
    crowded = json.dumps(["/bin/sh", "-c", f"{_RUN}{CROWDED}"])
    return f"""\
[[service]]
name = "web"
port = {WEB}
start = {{ command = {command}, idle_stop_s = 3, memory = "64M" }}
check = {{ http = "/", interval_ms = 200 }}

[[service]]
name = "broken"
port = {BROKEN}
start = {{ command = ["/bin/sh", "-c", "exit 7"], start_timeout_s = 10 }}

[[service]]
name = "slow"
port = {SLOW}
start = {{ command = ["/bin/sleep", "1000"], start_timeout_s = 2 }}

[[service]]
name = "crowded"
port = {CROWDED}
policy = "least-connections"
slow_start_ms = 0
start = {{ command = {crowded}, idle_stop_s = 2, load = {LOAD} }}
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("told") / "started"


@pytest.fixture(scope="module")
def stopped(told: Path) -> Iterator[Farm]:
    """A farm without an application."""
    settings = Settings(name=f"od{os.getpid()}", app="none", config=_config(told))
    with Lab(settings) as lab:
        farm = Farm(lab)
        wait_until("every server ready", farm.ready, 30)
        yield farm


@pytest.fixture
def cold(stopped: Farm, told: Path) -> Farm:
    """The same, and nothing was started in it, or all of it has ended."""
    wait_until("nothing runs", lambda: not _running(stopped, "web"), 30)
    told.write_text("")
    return stopped


def _instances(farm: Farm, server: str) -> list[dict[str, Any]]:
    file = farm.lab.place(server).run_dir / "instances.json"
    found: list[dict[str, Any]] = json.loads(file.read_text())["content"] if file.exists() else []
    return found


def _running(farm: Farm, service: str) -> list[str]:
    """The servers where it is anything but stopped."""
    return [
        server
        for server in farm.tables
        for one in _instances(farm, server)
        if one["service"] == service and one["phase"] != Phase.NONE
    ]


def _ask(farm: Farm, port: int, count: int, timeout_s: float = 30) -> list[tuple[int, bytes, str]]:
    """Status, body and server of so many answers; all ask at once, each of another server."""
    servers = list(farm.tables)
    waiting: dict[int, socket.socket] = {}
    for number in range(count):
        one = farm.connect(port, servers[number % len(servers)])
        waiting[one.fileno()] = one
    for one in waiting.values():
        one.sendall(request())
    answers, poll = [], select.poll()
    for descriptor in waiting:
        poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + timeout_s
    while waiting:
        ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        assert ready, f"{len(waiting)} of {count} clients have no answer"
        for descriptor, _ in ready:
            poll.unregister(descriptor)
            with waiting.pop(descriptor) as one:
                answer = read_answer(one)
            answers.append((answer.status, answer.body, answer.headers.get("x-served-by", "")))
    return answers


def test_200_clients_at_once_start_it_once_and_are_served(cold: Farm, told: Path) -> None:
    answers = _ask(cold, WEB, CLIENTS)
    started = told.read_text().split()[::2]
    assert len(started) == 1, told.read_text()
    assert Counter((status, server) for status, _, server in answers) == {(200, started[0]): 200}
    assert sum(counters["start_awaited"] for counters in cold.all_counters().values()) >= CLIENTS
    assert not any(counters["unavailable"] for counters in cold.all_counters().values())


def test_the_agent_comes_back_to_a_client_that_sends_once(cold: Farm) -> None:
    said = cold.run("s1", "ipos", "explain", f"http://{cold.address('s1')}/")
    assert "no server has its application now, so one starts it" in said
    with UserTcp(cold, WEB) as client:
        client.connect()
        client.send_at(0, request())
        assert client.read_answer(20).status == 200


def test_an_idle_application_is_stopped_and_started_again(cold: Farm, told: Path) -> None:
    assert [status for status, *_ in _ask(cold, WEB, 3)] == [200] * 3
    (server,) = _running(cold, "web")
    group = next(one["group"] for one in _instances(cold, server) if one["service"] == "web")
    wait_until("it has been stopped", lambda: not _running(cold, "web"), 20)
    wait_until("its cgroup has gone", lambda: not Path(group).exists())
    assert [status for status, *_ in _ask(cold, WEB, 3)] == [200] * 3
    assert len(told.read_text().splitlines()) == 2


def test_a_connection_keeps_it_from_being_stopped(cold: Farm) -> None:
    with cold.connect(WEB) as kept:
        kept.sendall(request(close=False))
        assert read_answer(kept).status == 200
        time.sleep(6)  # twice as long as it may be idle: nothing is to happen
        kept.sendall(request())
        assert read_answer(kept).status == 200


def test_more_start_under_load_and_stop_when_it_is_over(cold: Farm) -> None:
    kept = [cold.connect(CROWDED, server) for server in (*cold.tables, *cold.tables) * 2]
    for one in kept:
        one.sendall(request(close=False))
    assert {read_answer(one).status for one in kept} == {200}
    assert len(kept) > LOAD
    wait_until("another one runs", lambda: _serving(cold, "crowded") == 2, 60)
    for one in kept:
        one.close()
    # The other one may be idle for long enough when the first is stopped.
    wait_until("one is left at most", lambda: _serving(cold, "crowded") < 2, 60)
    wait_until("none is left", lambda: not _running(cold, "crowded"), 60)


def _serving(farm: Farm, service: str) -> int:
    """How many servers have it as ready."""
    status = json.loads(farm.run("s1", "ipos", "status", "-o", "json"))
    return next(len(one["servers"]) for one in status["services"] if one["service"] == service)


def test_a_command_that_fails_is_answered_with_its_reason(stopped: Farm) -> None:
    begun = time.monotonic()
    answers = _ask(stopped, BROKEN, 5)
    assert time.monotonic() - begun < 10
    assert {(status, body) for status, body, _ in answers} == {
        (503, b"refused: its application could not be started\n")
    }
    faults = json.loads(stopped.run("s1", "ipos", "status", "-o", "json"))["troubles"]
    assert any("service broken could not be started" in one for one in faults)
    assert any("its command ended with status 7" in one for one in faults)


def test_a_command_that_never_listens_is_answered_in_time(stopped: Farm) -> None:
    begun = time.monotonic()
    ((status, body, _),) = _ask(stopped, SLOW, 1)
    assert time.monotonic() - begun < 4
    assert (status, body[:24]) == (503, b"refused: its application")


def test_an_agent_that_is_killed_starts_no_second_one(cold: Farm, told: Path) -> None:
    assert [status for status, *_ in _ask(cold, WEB, 1)] == [200]
    (server,) = _running(cold, "web")
    end(cold.lab, server, signal.SIGKILL)
    cold.lab.start_agent(server)
    wait_until("every server ready", cold.ready, 30)
    assert [status for status, *_ in _ask(cold, WEB, 30)] == [200] * 30
    assert len(told.read_text().splitlines()) == 1
    wait_until("it has been stopped", lambda: not _running(cold, "web"), 20)


def test_a_detach_stops_it(cold: Farm) -> None:
    assert [status for status, *_ in _ask(cold, WEB, 1)] == [200]
    (server,) = _running(cold, "web")
    group = Path(next(o["group"] for o in _instances(cold, server) if o["service"] == "web"))
    end(cold.lab, server)
    assert (group / "cgroup.procs").read_text(), "the end of an agent stops nothing"
    cold.run(server, "ipos", "detach")
    assert not group.exists()
    cold.lab.start_agent(server)
    del cold.tables
    wait_until("every server ready", cold.ready, 30)
