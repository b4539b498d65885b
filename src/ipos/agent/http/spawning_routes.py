# SPDX-License-Identifier: Apache-2.0
"""The part of the API by which programs have others spawned."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from ipos.agent.on_demand.calls import PortsTaken
from ipos.errors import IposError

if TYPE_CHECKING:  # importing these takes long, and the agent does it in a thread
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from ipos.agent.on_demand.calls import Held

PATH = "/v1/spawned"
CALL = "/v1/spawned/{call}"
_LOOK_S = 0.02
_LEAVING_S = 12.0
"""How long a call waits for a port of a program that is being stopped: what has not ended by
SIGTERM is killed in that time."""
_LEAVING_LOOK_S = 0.1
_ARGUMENTS_MAX = 16


class Senseless(IposError):
    """A body that is no call."""


class Caller(Protocol):
    """What has programs spawned: `ipos.agent.on_demand.supervisor.Supervisor`."""

    def call(self, program: str, args: list[str], pid: int) -> "Held": ...
    def end_call(self, name: str) -> None: ...
    def calls(self) -> "list[Held]": ...


class Spawning:
    """Calls, as the API shows them. address: the service address by which programs are reached."""

    def __init__(self, caller: Caller, address: Callable[[], str]) -> None:
        self._caller = caller
        self._address = address

    async def call(self, program: str, args: list[str], pid: int) -> dict[str, Any]:
        """The call, when its program runs. IposError says why it does not."""
        made = await self._made(program, args, pid)
        while made.progress == "starting":
            await asyncio.sleep(_LOOK_S)
        if made.progress == "ended":
            raise IposError(f"{program} was not spawned: {made.why}")
        return self._row(made)

    async def _made(self, program: str, args: list[str], pid: int) -> "Held":
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _LEAVING_S
        while True:
            try:
                return self._caller.call(program, args, pid)
            except PortsTaken as taken:
                if not taken.are_leaving or loop.time() >= deadline:
                    raise
            await asyncio.sleep(_LEAVING_LOOK_S)

    def end(self, call: str) -> None:
        self._caller.end_call(call)

    def listed(self) -> list[dict[str, Any]]:
        return [self._row(one) for one in self._caller.calls()]

    def _row(self, one: "Held") -> dict[str, Any]:
        state = "lost" if one.lost_ms and one.progress == "running" else str(one.progress)
        return {
            "call": one.name,
            "program": one.program,
            "address": f"{self._address()}:{one.port}",
            "server": one.server or None,
            "state": state,
            "caller": one.pid,
            "since": one.since_ms / 1000,
            "why": one.why or None,
        }


Handler = Callable[["Request"], Awaitable["Response"]]
Body = Callable[["Request"], Awaitable[bytes]]


def routes(route: Callable[..., "Route"], spawning: Spawning, body: Body) -> list["Route"]:
    """route: makes one of a path, what answers, and a method if that is not GET."""
    return [
        route(PATH, listed(spawning)),
        route(PATH, called(spawning, body), "POST"),
        route(CALL, ended(spawning), "DELETE"),
    ]


def listed(spawning: Spawning) -> Handler:
    from starlette.responses import JSONResponse

    async def answer(request: "Request") -> "Response":
        return JSONResponse(spawning.listed())

    return answer


def called(spawning: Spawning, body: Body) -> Handler:
    from starlette.responses import JSONResponse

    async def answer(request: "Request") -> "Response":
        program, args, pid = _call(await body(request))
        return JSONResponse(await spawning.call(program, args, pid))

    return answer


def ended(spawning: Spawning) -> Handler:
    from starlette.responses import Response

    async def answer(request: "Request") -> "Response":
        spawning.end(request.path_params["call"])
        return Response(status_code=204)

    return answer


def _call(body: bytes) -> tuple[str, list[str], int]:
    """Senseless for what is none."""
    try:
        said = json.loads(body)
        program, args, pid = said["name"], said.get("args", []), said["pid"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        program, args, pid = None, None, None
    is_list = isinstance(args, list) and all(isinstance(one, str) for one in args)
    if not isinstance(program, str) or not is_list or len(args) > _ARGUMENTS_MAX:
        raise Senseless(_MEANT)
    if type(pid) is not int or not 0 < pid < 1 << 22:
        raise Senseless(_MEANT)
    return program, args, pid


_MEANT = (
    'the body must be {"name": N, "args": [A, ...], "pid": P}: the name of a [[spawn]], at most '
    f"{_ARGUMENTS_MAX} arguments, and the process for which it runs"
)
