# SPDX-License-Identifier: Apache-2.0
"""Who may use the agent's TCP port, by what a request says."""

import asyncio
import json
from typing import Any

import pytest

from ipos.agent.http.guard import Guard, Receive, Scope, Send

TOKEN = b"a token of sixteen characters or more"
BEARER = b"Bearer " + TOKEN


async def _yes(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def answer(
    token: bytes | None, path: str, method: str = "GET", **headers: bytes
) -> tuple[int, dict[str, Any]]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nobody reads a body")

    given = {"host": b"127.0.0.1:9100"} | headers
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.encode(), value) for name, value in given.items()],
    }
    asyncio.run(Guard(_yes, token)(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.mark.parametrize("token", [None, TOKEN])
def test_the_page_is_everybodys(token: bytes | None) -> None:
    assert answer(token, "/", host=b"example.org")[0] == 200
    assert answer(token, "/", "POST")[0] in (401, 403)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (BEARER, 200),
        (b"", 401),
        (TOKEN, 401),
        (b"bearer " + TOKEN, 401),
        (BEARER + b"x", 401),
        (BEARER[:-1], 401),
        (b"Basic " + TOKEN, 401),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_the_token_opens_all_of_it(said: bytes, status: int, method: str) -> None:
    assert answer(TOKEN, "/v1/status", method, authorization=said)[0] == status


def test_without_a_token_there_are_no_orders() -> None:
    for method in ("PUT", "POST", "DELETE", "PATCH", "OPTIONS"):
        status, said = answer(None, "/v1/reload", method, authorization=b"Bearer ")
        assert (status, "web_token_file" in said["error"]) == (403, True)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"127.0.0.1:9100", 200),
        (b"127.0.0.1", 200),
        (b"localhost:9100", 200),
        (b"[::1]:9100", 200),
        (b"evil.example:9100", 403),
        (b"localhost.evil.example", 403),
        (b"127.0.0.1.evil.example", 403),
        (b"", 403),
        (b"\xff", 403),
    ],
)
def test_a_name_of_another_site_is_no_way_in(host: bytes, status: int) -> None:
    """DNS rebinding: a browser then believes that site and this one to be the same."""
    assert answer(None, "/v1/status", host=host)[0] == status
    assert answer(TOKEN, "/metrics", host=host, authorization=BEARER)[0] == 200
