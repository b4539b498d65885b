# SPDX-License-Identifier: Apache-2.0
"""The HTTP server of the agent, on a Unix socket, in the agent's event loop.

The socket exists from the start and requests wait in its queue. Importing the server takes longer
than attaching the data plane, so it is done after everything else.
"""

import asyncio
import contextlib
import importlib
import os
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from ipos.errors import IposError

if TYPE_CHECKING:
    from ipos.agent.http.api import Control
    from ipos.agent.http.web_port import WebPort

MODE = 0o660
"""Root and the socket's group may ask and give orders."""
GROUP = "ipos"
"""The group that the socket is given to, where there is one of this name and the agent may."""
_BACKLOG = 64
_GRACE_S = 1
_CONNECTIONS_MAX = 128
_IDLE_S = 15

log = structlog.get_logger()


def listen(path: Path) -> socket.socket:
    """Take the place of an earlier agent's socket. IposError when there can be none."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o777 & ~MODE)
    try:
        listener.bind(str(path))
        with contextlib.suppress(LookupError, PermissionError):
            shutil.chown(path, group=GROUP)
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


async def serve(listener: socket.socket, control: "Control", web: "WebPort | None" = None) -> None:
    """Answer until the agent stops. Without an API the agent does all else that it does."""
    try:
        # In a thread: the agent goes on speaking meanwhile.
        await asyncio.to_thread(importlib.import_module, "ipos.agent.http.api")
        await asyncio.to_thread(importlib.import_module, "uvicorn.protocols.http.h11_impl")
    except ImportError as error:
        log.error("the API cannot be served", reason=str(error))
        return
    from ipos.agent.http.api import application
    from ipos.agent.http.guard import Guard

    api = application(control)
    serving = [_serve(api, listener, control)]
    if web is not None:
        files = {"ssl_certfile": web.certificate, "ssl_keyfile": web.key} if web.certificate else {}
        serving.append(_serve(Guard(api, web.token), web.listener, control, **files))
    await asyncio.gather(*serving)


async def _serve(api: Any, listener: socket.socket, control: "Control", **more: Any) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        """Leaves signals to the agent, and wakes up for requests only."""

        def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
            return contextlib.nullcontext()

        async def main_loop(self) -> None:
            await control.stopping.wait()

    config = uvicorn.Config(
        api,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        date_header=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS_MAX,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=_GRACE_S,
        **more,
    )
    await Server(config).serve(sockets=[listener])
