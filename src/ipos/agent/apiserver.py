# SPDX-License-Identifier: Apache-2.0
"""HTTP on a Unix socket, inside the agent's own loop.

The socket is there from the start and its callers wait in its queue; what answers them takes
longer to import than the data plane to attach, so it comes when all else is done.
"""

import asyncio
import contextlib
import importlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ipos.errors import IposError

if TYPE_CHECKING:
    from ipos.agent.api import Control

MODE = 0o660
"""Root and the socket's group may ask and give orders."""
_BACKLOG = 64
_GRACE_S = 1

log = structlog.get_logger()


def listen(path: Path) -> socket.socket:
    """Take the place of an earlier agent's socket. IposError when there can be none."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o777 & ~MODE)
    try:
        listener.bind(str(path))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise IposError(
            f"cannot make the API's socket {path}: {error.strerror or error}; IPOS_RUN_DIR "
            "replaces its directory"
        ) from None
    finally:
        os.umask(before)
    return listener


async def serve(listener: socket.socket, control: "Control") -> None:
    """Answer until the agent stops. Without an API the agent does all else that it does."""
    try:
        # In a thread: the agent goes on speaking meanwhile.
        await asyncio.to_thread(importlib.import_module, "ipos.agent.api")
        await asyncio.to_thread(importlib.import_module, "uvicorn.protocols.http.h11_impl")
    except ImportError as error:
        log.error("there is no API", reason=str(error))
        return
    import uvicorn

    from ipos.agent.api import application

    class Server(uvicorn.Server):
        """Leaves signals to the agent, and wakes up for requests only."""

        def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
            return contextlib.nullcontext()

        async def main_loop(self) -> None:
            await control.stopping.wait()

    config = uvicorn.Config(
        application(control),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        date_header=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    await Server(config).serve(sockets=[listener])
