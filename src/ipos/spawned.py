# SPDX-License-Identifier: Apache-2.0
"""Has the farm run one more program, and ends it: what `ipos.spawn` is.

The farm's configuration says which programs there are (`[[spawn]]`). The agent of this server is
asked, by its Unix socket.
"""

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from ipos.cli.client import Unanswered, ask
from ipos.errors import IposError

PATIENCE_S = 70.0
"""Longer than the agent tries to start it."""
PATH = "/v1/spawned"


class Spawned:
    """A program that the farm runs for this one, until `stop` or the end of this process.

    `host` and `port` are where programs on all servers of the farm reach it, `server` is the one
    that it runs on. `call` names it to `ipos spawn`.
    """

    def __init__(self, row: dict[str, Any]) -> None:
        self.call: str = row["call"]
        self.program: str = row["program"]
        self.server: str = row["server"]
        host, _, port = row["address"].rpartition(":")
        self.host: str = host
        self.port = int(port)

    @property
    def address(self) -> tuple[str, int]:
        """For `socket.create_connection`."""
        return self.host, self.port

    def stop(self) -> None:
        """End it. Nothing happens where it has ended. IposError: the agent does not answer."""
        if any(one["call"] == self.call and one["state"] != "ended" for one in spawned()):
            stop(self.call)

    def __enter__(self) -> "Spawned":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<{self.program} on {self.server}, {self.host}:{self.port}, {self.call}>"


def spawn(name: str, args: Sequence[str] = (), *, pid: int | None = None) -> Spawned:
    """One more program of that name, with these arguments, when it runs.

    It ends with the process `pid` of this server, by default this one. IposError says in one
    sentence why it does not run.
    """
    body = {"name": name, "args": list(args), "pid": os.getpid() if pid is None else pid}
    return Spawned(_asked("POST", PATH, body))


def stop(call: str) -> None:
    """End a call of this server, and its program."""
    from urllib.parse import quote

    _asked("DELETE", f"{PATH}/{quote(call, safe='')}")


def spawned() -> list[dict[str, Any]]:
    """The calls of this server: those that are open, and those that have ended lately."""
    rows: list[dict[str, Any]] = _asked("GET", PATH)
    return rows


def _asked(method: str, path: str, body: Any = None) -> Any:
    try:
        return ask(method, path, body, patience_s=PATIENCE_S)
    except Unanswered as silence:
        raise IposError(f"{silence}, and programs are spawned by it: start it") from None
