# SPDX-License-Identifier: Apache-2.0
"""`ipos spawn` and `ipos.spawn()`, against an agent that is made up."""

import json
import os
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import ipos
from ipos import spawned
from ipos.cli.client import Unanswered
from ipos.cli.spawn import app
from ipos.errors import IposError

ROW = {
    "call": "s1.7", "program": "worker", "address": "203.0.113.1:20003", "server": "s2",
    "state": "running", "caller": 815, "since": 1.0, "why": None,
}  # fmt: skip


class Agent:
    """What it was asked, and what it has."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.rows = [ROW, {**ROW, "call": "s1.6", "state": "ended", "why": "it was stopped"}]

    def ask(self, method: str, path: str, body: Any = None, **_: Any) -> Any:
        self.asked.append((method, path, body))
        return {"GET": self.rows, "POST": ROW}.get(method)


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Agent:
    made = Agent()
    monkeypatch.setattr(spawned, "ask", made.ask)
    return made


def run(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def test_a_program_asks_for_one_and_ends_it(agent: Agent) -> None:
    with ipos.spawn("worker", ["--size=3"]) as made:
        assert (made.address, made.server) == (("203.0.113.1", 20003), "s2")
        body = {"name": "worker", "args": ["--size=3"], "pid": os.getpid()}
        assert agent.asked == [("POST", "/v1/spawned", body)]
    assert agent.asked[-1] == ("DELETE", "/v1/spawned/s1.7", None)


def test_what_has_ended_is_not_ended_again(agent: Agent) -> None:
    with ipos.spawn("worker"):
        agent.rows = [{**ROW, "state": "ended"}]
    assert agent.asked[-1][0] == "GET"


def test_without_an_agent_it_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: Any, **__: Any) -> None:
        raise Unanswered("no agent is running on this server")

    monkeypatch.setattr(spawned, "ask", ask)
    with pytest.raises(IposError, match="and programs are spawned by it: start it"):
        ipos.spawn("worker")
    with pytest.raises(AttributeError):
        ipos.spawns  # noqa: B018


def test_the_command_prints_the_address(agent: Agent) -> None:
    done = run("worker", "--", "--size=3", "--fast")
    assert (done.exit_code, done.stdout) == (0, "203.0.113.1:20003\n")
    body = {"name": "worker", "args": ["--size=3", "--fast"], "pid": os.getppid()}
    assert agent.asked == [("POST", "/v1/spawned", body)]
    assert run("worker", "--for", "815", "-o", "json").exit_code == 0
    assert agent.asked[-1][2]["pid"] == 815


def test_the_command_lists_and_stops(agent: Agent) -> None:
    assert json.loads(run("--list", "-o", "json").stdout) == agent.rows
    listed = run("--list").stdout
    assert "203.0.113.1:20003" in listed
    assert "it was stopped" in listed
    assert run("--stop", "all").exit_code == 0
    assert [path for method, path, _ in agent.asked if method == "DELETE"] == ["/v1/spawned/s1.7"]
    assert run("--stop", "s2.9").exit_code == 0
    assert agent.asked[-1][:2] == ("DELETE", "/v1/spawned/s2.9")


@pytest.mark.parametrize("words", [(), ("worker", "--list"), ("--list", "--stop", "all")])
def test_one_thing_is_said(agent: Agent, words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert agent.asked == []
    assert isinstance(app, typer.Typer)
