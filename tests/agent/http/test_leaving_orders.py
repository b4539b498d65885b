# SPDX-License-Identifier: Apache-2.0
"""Orders that take connections from servers, as the API is given them."""

import pytest

from ipos.abi.rows import ServerState
from ipos.agent.http.agent_control import Wanted
from ipos.agent.http.api import application
from tests.agent.http.test_api import Client
from tests.agent.running import Running


@pytest.fixture
def running() -> Running:
    return Running()


@pytest.fixture
def client(running: Running) -> Client:
    return Client(application(running))


def test_an_order_to_drain(client: Client, running: Running) -> None:
    assert client.get("/v1/servers/s2/drain").status_code == 404
    body = {"state": "drain", "deadline": 30, "force": True}
    assert client.put("/v1/servers/s2/state", json=body).status_code == 204
    assert running.wanted == Wanted(ServerState.DRAIN, 30.0, True)
    for deadline in (-1, "30", None, True, 1e9):
        refused = client.put("/v1/servers/s2/state", json={**body, "deadline": deadline})
        assert refused.status_code == 400
    assert len(running.orders) == 1


def test_rebalance(client: Client, running: Running) -> None:
    for most in (None, 0, 500):
        answer = client.post("/v1/rebalance", json={"most": most})
        assert answer.json() == {"s1": {"connections": 9, "gives": 3}}
        assert running.most == most
    for body in ("", "[]", "{}", '{"most": -1}', '{"most": true}', '{"most": "3"}'):
        assert client.post("/v1/rebalance", content=body).status_code == 400
