# SPDX-License-Identifier: Apache-2.0
"""What the API answers about identified sessions."""

import sys
from typing import Any

import pytest

from ipos.abi import rows
from ipos.agent.http.api import application
from ipos.config.schema import Service, Session
from tests.agent.http.test_api import Client
from tests.agent.made_up_farm import NOW_NS, front
from tests.agent.running import Running

IDENTITY = "1f0c9a44d2e8b370"


@pytest.fixture
def running() -> Running:
    made = Running(Service(name="web", port=80, session=Session(kind="identify")))
    key = rows.CookieKey(int.from_bytes(bytes.fromhex(IDENTITY), sys.byteorder), 80)
    made.tables.cookies.put(key, rows.Cookie(front(2), 1, 2 * NOW_NS))
    return made


@pytest.fixture
def client(running: Running) -> Client:
    return Client(application(running))


def test_the_list(client: Client) -> None:
    (row,) = client.get("/v1/sessions").json()
    assert (row["session"], row["server"]) == (IDENTITY, "s2")
    assert client.get("/v1/sessions?server=s3").json() == []
    answer = client.get("/v1/sessions?server=s9")
    assert (answer.status_code, answer.json()["error"][:12]) == (404, "no server is")


def test_orders(running: Running, client: Client) -> None:
    one = {"session": IDENTITY, "to": "s3"}
    assert client.post("/v1/sessions/move", json=one).json() == {"moved": 1}
    every = {"from": "s2", "to": "s3"}
    assert client.post("/v1/sessions/move", json=every).json() == {"moved": 7}
    gone = {"session": IDENTITY}
    assert client.post("/v1/sessions/revoke", json=gone).json() == {"revoked": 1}
    identity = bytes.fromhex(IDENTITY)
    assert running.sessions.given == [
        ("move", identity, front(3)), ("move all", front(2), front(3)), ("revoke", identity),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("move", {"session": IDENTITY}, 400, "the body must be"),
        ("move", {"session": IDENTITY, "from": "s2", "to": "s3"}, 400, "the body must be"),
        ("move", {"session": "1f0c", "to": "s3"}, 400, "the body must be"),
        ("move", ["s2", "s3"], 400, "the body must be"),
        ("move", {"session": IDENTITY, "to": "s9"}, 404, "no server is called s9"),
        ("move", {"from": "s9", "to": "s1"}, 404, "no server is called s9"),
        ("move", {"session": "0" * 16, "to": "s3"}, 404, "there is no such session"),
        ("revoke", {"session": "x" * 16}, 400, "the body must be"),
        ("revoke", {}, 400, "the body must be"),
    ],
)
def test_what_cannot_be_done(
    running: Running, client: Client, path: str, body: Any, status: int, said: str
) -> None:
    answer = client.post(f"/v1/sessions/{path}", json=body)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(said)
    assert running.sessions.given == []
