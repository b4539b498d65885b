# SPDX-License-Identifier: Apache-2.0
"""Programs that are spawned by the API."""

import pytest

from ipos.agent.http.api import application
from ipos.agent.on_demand.calls import PortsTaken
from tests.agent.http.test_api import Client
from tests.agent.running import Running

BODY = {"name": "worker", "args": ["--size=3"], "pid": 815}


@pytest.fixture
def running() -> Running:
    return Running()


@pytest.fixture
def client(running: Running) -> Client:
    return Client(application(running))


def test_a_program_is_spawned_listed_and_ended(client: Client, running: Running) -> None:
    row = {
        "call": "s1.0",
        "program": "worker",
        "address": "203.0.113.1:20000",
        "server": "s2",
        "state": "running",
        "caller": 815,
        "since": 1700.0,
        "why": None,
    }
    assert client.post("/v1/spawned", json=BODY).json() == row
    assert running.caller.held[0].args == ["--size=3"]
    assert client.get("/v1/spawned").json() == [row]
    assert client.request("DELETE", "/v1/spawned/s1.0").status_code == 204
    assert client.request("DELETE", "/v1/spawned/s1.0").status_code == 404
    assert client.get("/v1/spawned").json() == []


def test_one_that_does_not_run_is_a_sentence(client: Client, running: Running) -> None:
    running.caller.why = "on s2 it is broken"
    answer = client.post("/v1/spawned", json=BODY)
    assert answer.status_code == 409
    assert answer.json() == {"error": "worker was not spawned: on s2 it is broken"}


def test_a_port_that_is_about_to_be_free_is_waited_for(client: Client, running: Running) -> None:
    running.caller.taken = [PortsTaken("all are in use", are_leaving=True) for _ in range(2)]
    assert client.post("/v1/spawned", json=BODY).json()["call"] == "s1.0"
    running.caller.taken = [PortsTaken("all are in use", are_leaving=False)]
    answer = client.post("/v1/spawned", json=BODY)
    assert (answer.status_code, answer.json()) == (409, {"error": "all are in use"})


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {**BODY, "name": 7},
        {**BODY, "args": "--size"},
        {**BODY, "args": [7]},
        {**BODY, "args": ["--fast"] * 17},
        {**BODY, "pid": 0},
        {**BODY, "pid": True},
        {**BODY, "pid": "815"},
        {**BODY, "pid": 1 << 22},
    ],
)
def test_what_is_no_call_is_refused(client: Client, running: Running, body: object) -> None:
    assert client.post("/v1/spawned", json=body).status_code == 400
    assert running.caller.held == []
