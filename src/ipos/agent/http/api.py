# SPDX-License-Identifier: Apache-2.0
"""The agent's API: which request leads to what.

    GET  /v1/status               the document of `ipos status`
    GET  /v1/servers              its servers alone
    PUT  /v1/servers/NAME/state   {"state": "ready" | "drain" | "maint"}; answers when that is so;
                                  for drain also "deadline": seconds, 0 for none, and "force": true
    GET  /v1/servers/NAME/drain   the progress of a server that drains
    POST /v1/rebalance            {"most": N, or null for any number}: servers that have more
                                  connections than their share give idle ones away; how many
    POST /v1/migrate              {"client": "ADDRESS:PORT", "to": NAME}: its application is asked
                                  to give that connection away; answers when it has
    GET  /v1/ready                200 while this server is to get new connections, else 503 and why
    PUT  /v1/servers/NAME/weight  {"weight": 1 to 65535, or null for the configured one}; as above
    GET  /v1/addresses            the service addresses and who holds them
    GET  /v1/counters             every counter of the data plane, as `ipos counters -o json`
    GET  /v1/doctor               what each server finds wrong with itself, asked now
    GET  /v1/traffic              requests, refusals and times of services, requests of routes
    GET  /v1/explain?url=         which server a request would get; also client=, cookie=, alpn=
    GET  /v1/sessions             identified sessions; `session_paths` has its orders, too
    GET  /v1/routes               the rules that requests follow here now
    GET  /v1/routes/test?url=     which of them applies to a URL, and why; also service=, alpn=
    GET  /v1/history              the last hour in samples of ten seconds, where agent.web is set
    GET  /v1/events               one JSON object a line for each decision, until closed
    POST /v1/ladder               {"seconds": S}: the frames of the next connection that begins here
                                  within that time, as a ladder of text; other captures must wait
    GET  /v1/spawned              the calls of this server's programs for spawned programs
    POST /v1/spawned              {"name": N, "args": [A, ...], "pid": P}: one more of [[spawn]] N,
                                  until process P ends; answers when it runs, with its address
    DELETE /v1/spawned/CALL       end that call, and its program
    POST /v1/reload               take the changed configuration; answers when it is taken
    GET  /metrics                 Prometheus' text format

A fault is {"error": sentence}: 400 for a request that makes no sense, 404 for what does not exist,
409 for what cannot be done now, 413 for a body of more than 4,096 bytes. A request may name the
agent that it is meant for in the headers Ipos-Farm and Ipos-Server; another agent answers 421.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, aclosing
from functools import partial
from typing import Any, Protocol, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ipos.abi.rows import ServerState
from ipos.agent.heartbeat.orders import WEIGHT_MAX
from ipos.agent.host.own_state import wall_offset_ns
from ipos.agent.http import next_connection, readiness, session_paths, spawning_routes
from ipos.agent.http.agent_control import NoSuchServer, Wanted
from ipos.agent.http.page import PATH, page
from ipos.agent.http.spawning_routes import Senseless, Spawning
from ipos.agent.on_demand.calls import NoSuchCall
from ipos.agent.sessions.session_orders import NoSuchSession, SessionOrders
from ipos.agent.view import measures, metrics, report
from ipos.agent.view.drain_report import NoSuchReport, drain_report
from ipos.agent.view.events import event, more
from ipos.agent.view.explanation import explain
from ipos.agent.view.rules_in_force import Unexplained, route_list, route_test
from ipos.agent.view.session_list import NoSuchServerHere
from ipos.agent.view.table_views import View, server_list
from ipos.agent.view.watchers import LOOK_S, Feed
from ipos.errors import IposError

ORDERABLE = ("ready", "drain", "maint")
DEADLINE_MAX_S = 30 * 86_400
BODY_MAX = 4096
_LINES = "application/x-ndjson"
Handler = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")


class Control(Protocol):
    """What the API needs of the agent. IposError says why something was not done."""

    @property
    def stopping(self) -> asyncio.Event: ...
    @property
    def view(self) -> Callable[[], View]: ...
    @property
    def sessions(self) -> SessionOrders: ...
    def watch(self) -> AbstractContextManager[Feed]: ...
    def rule(self, number: int) -> str | None: ...
    def limits(self) -> Mapping[str, int]: ...
    def history(self) -> list[dict[str, Any]]: ...
    async def counted(self, make: Callable[[View], T]) -> T: ...
    async def order(self, server: str, wanted: Wanted) -> None: ...
    async def rebalance(self, most: int | None) -> Mapping[str, Mapping[str, int]]: ...
    async def weigh(self, server: str, weight: int) -> None: ...
    @property
    def migrate(self) -> Callable[[str, str], Coroutine[Any, Any, None]]: ...
    async def reload(self) -> None: ...
    async def examine(self) -> list[dict[str, Any]]: ...
    @property
    def spawning(self) -> Spawning: ...


class Json(JSONResponse):
    """JSON in ASCII: a path may have bytes that are no UTF-8."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode("ascii")


class TooLong(IposError):
    """The body of a request has no end in sight."""


class Misdirected(IposError):
    """A request is for the agent of another server."""


def application(control: Control) -> Starlette:
    return Starlette(
        routes=_routes(control),
        exception_handlers={
            TooLong: _fault(413),
            Misdirected: _fault(421),
            NoSuchServer: _fault(404),
            NoSuchReport: _fault(404),
            NoSuchSession: _fault(404),
            NoSuchServerHere: _fault(404),
            NoSuchCall: _fault(404),
            Senseless: _fault(400),
            Unexplained: _fault(400),
            IposError: _fault(409),
            HTTPException: _no_such_request,
        },
    )


def _routes(control: Control) -> list[Route]:
    async def status(request: Request) -> Response:
        return Json(await control.counted(lambda view: report.status(view, "running")))

    async def order(request: Request) -> Response:
        wanted = _wanted(await _body(request))
        if wanted is None:
            return _error(400, f'the body must be {{"state": S}}, S one of {", ".join(ORDERABLE)}')
        await control.order(request.path_params["name"], wanted)
        return Response(status_code=204)

    async def weigh(request: Request) -> Response:
        weight = _weight(await _body(request))
        if weight is None:
            return _error(400, f'the body must be {{"weight": W}}, W null or 1 to {WEIGHT_MAX}')
        await control.weigh(request.path_params["name"], weight)
        return Response(status_code=204)

    async def explained(request: Request) -> Response:
        asked = request.query_params
        if not asked.get("url"):
            return _error(400, "explain needs ?url=, such as http://203.0.113.1/")
        said = (asked.get(name, "") for name in ("client", "cookie", "alpn"))
        return Json(explain(control.view(), asked["url"], *said).document())

    async def tested(request: Request) -> Response:
        asked = request.query_params
        if not asked.get("url"):
            return _error(400, "a test needs ?url=, such as http://www.example.org/img/")
        said = (asked.get(name, "") for name in ("service", "alpn"))
        return Json(route_test(control.view(), asked["url"], *said))

    async def events(request: Request) -> Response:
        lines = _lines(control)
        first = await anext(lines)  # a fault is an answer, and no broken line
        return StreamingResponse(_after(first, lines), media_type=_LINES)

    async def reload(request: Request) -> Response:
        await control.reload()
        return Response(status_code=204)

    route = partial(_route, control)
    return [
        *session_paths.routes(route, control.counted, control.view, control.sessions, _body),
        *spawning_routes.routes(route, control.spawning, _body),
        route("/v1/status", status),
        route("/v1/servers", _told(control, server_list)),
        route("/v1/servers/{name}/state", order, "PUT"),
        route("/v1/servers/{name}/drain", _drained(control)),
        route("/v1/rebalance", _rebalances(control), "POST"),
        route("/v1/migrate", _migrates(control), "POST"),
        route(readiness.PATH, _ready(control)),
        route("/v1/servers/{name}/weight", weigh, "PUT"),
        route("/v1/addresses", _told(control, report.address_list)),
        route("/v1/counters", _told(control, _counters)),
        route("/v1/doctor", _examines(control)),
        route("/v1/traffic", _told(control, measures.document)),
        route("/v1/explain", explained),
        route("/v1/routes", _told(control, route_list)),
        route("/v1/routes/test", tested),
        route("/v1/history", _told(control, lambda _: control.history())),
        route("/v1/events", events),
        route("/v1/reload", reload, "POST"),
        route("/v1/ladder", _drawn(control), "POST"),
        route("/metrics", _scraped(control)),
        Route(PATH, page),
    ]


def _route(control: Control, path: str, answer: Handler, method: str = "GET") -> Route:
    async def meant(request: Request) -> Response:
        _expect_me(request, control.view())
        return await answer(request)

    return Route(path, meant, methods=[method])


def _scraped(control: Control) -> Handler:
    async def answer(request: Request) -> Response:
        limits = control.limits()
        text = await control.counted(lambda view: metrics.text(view, limits))
        return Response(text, headers={"Content-Type": metrics.CONTENT_TYPE})

    return answer


def _drawn(control: Control) -> Handler:
    async def answer(request: Request) -> Response:
        try:
            seconds = json.loads(await _body(request))["seconds"]
        except (ValueError, KeyError, TypeError, RecursionError):
            seconds = 0
        most = next_connection.SECONDS_MAX
        if type(seconds) not in (int, float) or not 0 < seconds <= most:
            return _error(
                400, f'the body must be {{"seconds": S}}, S more than 0 and at most {most}'
            )
        is_over = control.stopping.is_set
        draw = partial(next_connection.document, control.view(), seconds, is_over)
        return Json(await asyncio.to_thread(draw))

    return answer


def _rebalances(control: Control) -> Handler:
    async def answer(request: Request) -> Response:
        try:
            most = json.loads(await _body(request))["most"]
        except (ValueError, KeyError, TypeError, RecursionError):
            most = -1
        if most is not None and (type(most) is not int or most < 0):
            return _error(400, 'the body must be {"most": N}, N null or a number of connections')
        return Json(await control.rebalance(most))

    return answer


def _migrates(control: Control) -> Handler:
    async def answer(request: Request) -> Response:
        try:
            asked = json.loads(await _body(request))
            client, to = asked["client"], asked["to"]
        except (ValueError, KeyError, TypeError, RecursionError):
            client = to = None
        if not isinstance(client, str) or not isinstance(to, str):
            return _error(400, 'the body must be {"client": "ADDRESS:PORT", "to": NAME}')
        await control.migrate(client, to)
        return Response(status_code=204)

    return answer


def _drained(control: Control) -> Handler:
    async def answer(request: Request) -> Response:
        return Json(drain_report(control.view(), request.path_params["name"]))

    return answer


def _examines(control: Control) -> Handler:
    async def answer(request: Request) -> Response:
        return Json(await control.examine())

    return answer


def _ready(control: Control) -> Handler:
    async def answer(request: Request) -> Response:
        why = readiness.unready(control.view())
        return Json(readiness.document(why), 503 if why else 200)

    return answer


def _counters(view: View) -> dict[str, int]:
    return {counter.name.lower(): value for counter, value in view.tables.counters()}


def _told(control: Control, make: Callable[[View], Any]) -> Handler:
    async def answer(request: Request) -> Response:
        return Json(make(control.view()))

    return answer


def _expect_me(request: Request, view: View) -> None:
    """Misdirected when a request names another farm or server than this one."""
    me = {"Ipos-Farm": view.snapshot.farm, "Ipos-Server": view.snapshot.me}
    if any(request.headers.get(name, mine) != mine for name, mine in me.items()):
        raise Misdirected(
            f"the agent that runs here is that of {view.snapshot.me} of farm {view.snapshot.farm}"
        )


async def _no_such_request(request: Request, error: Exception) -> Response:
    """A path or a method that is none of ours."""
    assert isinstance(error, HTTPException)
    said = "there is nothing at" if error.status_code == 404 else "this method is not for"
    return _error(error.status_code, f"{said} {request.url.path}; docs/commands.md lists what is")


async def _body(request: Request) -> bytes:
    """The body of a request, which has no reason to be long."""
    found = b""
    async for piece in request.stream():
        found += piece
        if len(found) > BODY_MAX:
            raise TooLong(f"a request to the agent has at most {BODY_MAX} bytes of body")
    return found


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


def _wanted(body: bytes) -> Wanted | None:
    """None for what makes no sense."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("state") not in ORDERABLE:
        return None
    deadline_s, forced = said.get("deadline", 0), said.get("force", False)
    if type(deadline_s) not in (int, float) or not 0 <= deadline_s <= DEADLINE_MAX_S:
        return None
    return Wanted(ServerState[said["state"].upper()], float(deadline_s), forced is True)


def _weight(body: bytes) -> int | None:
    """0 for null: what is configured; None for what is no weight."""
    try:
        said = json.loads(body)["weight"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if said is None:
        return 0
    return said if type(said) is int and 0 < said <= WEIGHT_MAX else None


def _error(status: int, sentence: str) -> Response:
    return Json({"error": sentence}, status)


def _fault(status: int) -> Any:
    async def answer(request: Request, error: Exception) -> Response:
        return _error(status, str(error))

    return answer
