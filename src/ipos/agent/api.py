# SPDX-License-Identifier: Apache-2.0
"""The agent's API: which request leads to what.

    GET  /v1/status               the document of `ipos status`
    GET  /v1/servers              its servers alone
    PUT  /v1/servers/NAME/state   {"state": "ready" | "drain" | "maint"}; answers when it is so
    PUT  /v1/servers/NAME/weight  {"weight": 1 to 65535, or null for what is configured}; as above
    GET  /v1/explain?url=         which server a request would get; also client=, cookie=
    GET  /v1/routes               the rules that requests follow here now
    GET  /v1/routes/test?url=     which of them a URL meets, and why; also service=
    GET  /v1/events               a JSON object per line, as connections are decided, until closed
    POST /v1/reload               take the changed configuration; answers when it is taken
    GET  /metrics                 Prometheus' text format

A fault is {"error": sentence}: 400 for a request that makes no sense, 404 for what is not there,
409 for what cannot be done now.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, aclosing
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ipos.agent import metrics, report
from ipos.agent.control import NoSuchServer
from ipos.agent.events import event, more
from ipos.agent.explain import explain
from ipos.agent.observer import wall_offset_ns
from ipos.agent.orders import WEIGHT_MAX
from ipos.agent.routing import Unexplained, route_list, route_test
from ipos.agent.views import View, server_list
from ipos.agent.watching import LOOK_S, Feed
from ipos.errors import IposError
from ipos.inic.rows import ServerState

ORDERABLE = ("ready", "drain", "maint")
_LINES = "application/x-ndjson"


class Control(Protocol):
    """What the API needs of the agent. IposError says why something was not done."""

    @property
    def stopping(self) -> asyncio.Event: ...
    @property
    def view(self) -> Callable[[], View]: ...
    def watch(self) -> AbstractContextManager[Feed]: ...
    def rule(self, number: int) -> str | None: ...
    def limits(self) -> Mapping[str, int]: ...
    async def order(self, server: str, state: ServerState) -> None: ...
    async def weigh(self, server: str, weight: int) -> None: ...
    async def reload(self) -> None: ...


def application(control: Control) -> Starlette:
    return Starlette(
        routes=_routes(control),
        exception_handlers={
            NoSuchServer: _fault(404),
            Unexplained: _fault(400),
            IposError: _fault(409),
        },
    )


def _routes(control: Control) -> list[Route]:
    async def status(request: Request) -> Response:
        return JSONResponse(report.status(control.view(), "running"))

    async def servers(request: Request) -> Response:
        return JSONResponse(server_list(control.view()))

    async def order(request: Request) -> Response:
        state = _state(await request.body())
        if state is None:
            return _error(400, f'the body must be {{"state": S}}, S one of {", ".join(ORDERABLE)}')
        await control.order(request.path_params["name"], state)
        return Response(status_code=204)

    async def weigh(request: Request) -> Response:
        weight = _weight(await request.body())
        if weight is None:
            return _error(400, f'the body must be {{"weight": W}}, W null or 1 to {WEIGHT_MAX}')
        await control.weigh(request.path_params["name"], weight)
        return Response(status_code=204)

    async def explained(request: Request) -> Response:
        asked = request.query_params
        if not asked.get("url"):
            return _error(400, "explain needs ?url=, such as http://203.0.113.1/")
        found = explain(
            control.view(), asked["url"], asked.get("client", ""), asked.get("cookie", "")
        )
        return JSONResponse(found.document())

    async def routes(request: Request) -> Response:
        return JSONResponse(route_list(control.view()))

    async def tested(request: Request) -> Response:
        asked = request.query_params
        if not asked.get("url"):
            return _error(400, "a test needs ?url=, such as http://www.example.org/img/")
        return JSONResponse(route_test(control.view(), asked["url"], asked.get("service", "")))

    async def events(request: Request) -> Response:
        lines = _lines(control)
        first = await anext(lines)  # a fault is an answer, and no broken line
        return StreamingResponse(_after(first, lines), media_type=_LINES)

    async def reload(request: Request) -> Response:
        await control.reload()
        return Response(status_code=204)

    async def scrape(request: Request) -> Response:
        text = metrics.text(control.view(), control.limits())
        return Response(text, headers={"Content-Type": metrics.CONTENT_TYPE})

    return [
        Route("/v1/status", status),
        Route("/v1/servers", servers),
        Route("/v1/servers/{name}/state", order, methods=["PUT"]),
        Route("/v1/servers/{name}/weight", weigh, methods=["PUT"]),
        Route("/v1/explain", explained),
        Route("/v1/routes", routes),
        Route("/v1/routes/test", tested),
        Route("/v1/events", events),
        Route("/v1/reload", reload, methods=["POST"]),
        Route("/metrics", scrape),
    ]


async def _lines(control: Control) -> AsyncGenerator[str, None]:
    """An empty line at once, so that who watches knows from when on."""
    with control.watch() as feed:
        yield "\n"
        while not control.stopping.is_set():
            records, lost = feed.take()
            if records:
                snapshot, offset_ns = control.view().snapshot, wall_offset_ns()
                for record in records:
                    yield json.dumps(event(record, snapshot, offset_ns, control.rule)) + "\n"
            if lost:
                yield json.dumps(more(lost, time.time())) + "\n"
            await asyncio.sleep(LOOK_S)


async def _after(first: str, lines: AsyncGenerator[str, None]) -> AsyncIterator[str]:
    async with aclosing(lines):
        yield first
        async for line in lines:
            yield line


def _state(body: bytes) -> ServerState | None:
    try:
        said = json.loads(body)
    except ValueError:
        return None
    state = said.get("state") if isinstance(said, dict) else None
    return ServerState[state.upper()] if state in ORDERABLE else None


def _weight(body: bytes) -> int | None:
    """0 for null: what is configured; None for what is no weight."""
    try:
        said = json.loads(body)["weight"]
    except (ValueError, KeyError, TypeError):
        return None
    if said is None:
        return 0
    return said if type(said) is int and 0 < said <= WEIGHT_MAX else None


def _error(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status)


def _fault(status: int) -> Any:
    async def answer(request: Request, error: Exception) -> Response:
        return _error(status, str(error))

    return answer
