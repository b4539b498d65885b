# SPDX-License-Identifier: Apache-2.0
"""The connection of an application to its server's agent. It is made again when the agent is."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

from ipos.agent.host.paths import endpoints_socket
from ipos.endpoint import desk_message
from ipos.endpoint.desk_message import FDS_MAX, SIZE_MAX, Message
from ipos.errors import IposError

_PAUSE_S = 0.1
_NO_AGENT = "no agent of ipOS answers at {}: is it running, and may this user write there?"


class Line:
    """`hear` is called with each message and the descriptors beside it, which are closed after.

    `again` is called when there is a new agent, which knows nothing of this application.
    """

    def __init__(
        self, hear: Callable[[Message, list[int]], None], again: Callable[[], Awaitable[None]]
    ) -> None:
        self._hear, self._again = hear, again
        self._socket: socket.socket | None = None
        self._closed = False
        self._returning: asyncio.Task[None] | None = None

    async def say(self, said: Message, *fds: int) -> None:
        """IposError when there is no agent; a lost message is said anew by `again`."""
        if self._socket is None and self._returning is None:
            self._connect()
        while self._socket is None:
            await asyncio.sleep(_PAUSE_S)
        raw = desk_message.encode(said)
        while self._socket is not None:
            try:
                socket.send_fds(self._socket, [raw], fds)
                return
            except BlockingIOError:
                await asyncio.sleep(0.001)
            except OSError:
                return  # the agent has gone; `again` follows

    def _connect(self) -> None:
        path = endpoints_socket()
        made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            made.setblocking(False)
            made.connect(str(path))
        except OSError:
            made.close()
            raise IposError(_NO_AGENT.format(path)) from None
        self._socket = made
        asyncio.get_running_loop().add_reader(made.fileno(), self._readable)

    def _readable(self) -> None:
        while self._socket is not None:
            try:
                raw, fds, _, _ = socket.recv_fds(self._socket, SIZE_MAX, FDS_MAX)
            except BlockingIOError:
                return
            except OSError:
                raw, fds = b"", []
            if not raw:
                self._hang_up()
                if not self._closed:
                    self._returning = asyncio.get_running_loop().create_task(self._return())
                return
            try:
                said = desk_message.decode(raw)
                if said is not None:
                    self._hear(said, fds)
            finally:
                for fd in fds:
                    os.close(fd)

    async def _return(self) -> None:
        while self._socket is None and not self._closed:
            with suppress(IposError):
                self._connect()
                break
            await asyncio.sleep(_PAUSE_S)
        self._returning = None
        if self._socket is not None:
            await self._again()

    def _hang_up(self) -> None:
        if self._socket is not None:
            with suppress(RuntimeError):  # its loop has been closed
                asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        self._closed = True
        self._hang_up()
