# SPDX-License-Identifier: Apache-2.0
"""The paths of the API that are about identified sessions.

    GET  /v1/sessions             those that live; also server=, only that server's
    POST /v1/sessions/move        {"session": ID} or {"from": S}, and "to": S: {"moved": N}
    POST /v1/sessions/revoke      {"session": ID}: {"revoked": N}

Both orders answer when every server that is heard has taken them.
"""

import json
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ipos.agent.host.own_state import boottime_ns
from ipos.agent.http.agent_control import NoSuchServer
from ipos.agent.sessions.session_orders import SessionOrders
from ipos.agent.view.session_list import server_names, session_list
from ipos.agent.view.table_views import View
from ipos.selection import identities

Handler = Callable[[Request], Awaitable[Response]]
Count = Callable[[Callable[[View], Any]], Awaitable[Any]]
Body = Callable[[Request], Awaitable[bytes]]


def routes(
    route: Callable[..., Route],
    counted: Count,
    view: Callable[[], View],
    orders: SessionOrders,
    body: Body,
) -> list[Route]:
    """route: makes one of a path, what answers, and a method if that is not GET."""
    return [
        route("/v1/sessions", lists(counted)),
        route("/v1/sessions/move", moves(view, orders, body), "POST"),
        route("/v1/sessions/revoke", revokes(orders, body), "POST"),
    ]


def lists(counted: Count) -> Handler:
    async def answer(request: Request) -> Response:
        server = request.query_params.get("server", "")
        return JSONResponse(await counted(lambda view: session_list(view, server)))

    return answer


def moves(view: Callable[[], View], orders: SessionOrders, body: Body) -> Handler:
    async def answer(request: Request) -> Response:
        said = _object(await body(request))
        identity, source, to = _identity(said), said.get("from"), said.get("to")
        if not isinstance(to, str) or (identity is None) is not isinstance(source, str):
            return _wrong('{"session": ID, "to": S} or {"from": S, "to": S}')
        address, now_ns = _address(view(), to), boottime_ns()
        if identity is not None:
            return JSONResponse({"moved": await orders.move(identity, address, now_ns)})
        moved = await orders.move_all(_address(view(), source), address, now_ns)
        return JSONResponse({"moved": moved})

    return answer


def revokes(orders: SessionOrders, body: Body) -> Handler:
    async def answer(request: Request) -> Response:
        identity = _identity(_object(await body(request)))
        if identity is None:
            return _wrong('{"session": ID}, ID 16 hexadecimal digits')
        return JSONResponse({"revoked": await orders.revoke(identity, boottime_ns())})

    return answer


def _address(view: View, server: Any) -> IPv4Address:
    """What rows of the Cookie map call a server."""
    names = {name: address for address, name in server_names(view).items()}
    if server not in names:
        raise NoSuchServer(f"no server is called {server}; there are {', '.join(sorted(names))}")
    return names[server]


def _object(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _identity(said: dict[str, Any]) -> bytes | None:
    text = said.get("session")
    if not isinstance(text, str) or len(text) != 2 * identities.SIZE:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def _wrong(expected: str) -> Response:
    return JSONResponse({"error": f"the body must be {expected}"}, 400)
