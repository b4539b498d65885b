# SPDX-License-Identifier: Apache-2.0
"""Closes descriptors that applications have, too, or have made.

A close may wait for as long as an application likes (SO_LINGER, FUSE), so no close is done in the
event loop.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from ipos.agent.endpoints import tcp_repair
from ipos.agent.endpoints.row_orders import MARK_FROZEN
from ipos.agent.loop import daemon_threads


def close(fds: Iterable[int]) -> None:
    for fd in fds:
        with suppress(OSError):
            os.close(fd)


def _close(sock: socket.socket, leaves: bool) -> None:
    with suppress(OSError):
        if leaves and tcp_repair.marked(sock) == MARK_FROZEN:
            tcp_repair.leave(sock)
    with suppress(OSError):
        sock.close()


class LetGo:
    """count: how many sockets are not closed yet."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(
        self,
        sock: socket.socket,
        then: Callable[[], object] = lambda: None,
        *,
        leaves: bool = False,
    ) -> None:
        """then: called in the event loop when it is closed. Without a loop all of it is done now.

        leaves: one that an agent has frozen loses its connection, in whatever process it is.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            _close(sock, leaves)
            then()
            return
        self.count += 1
        daemon_threads.begin(partial(_close, sock, leaves), partial(self._done, then))

    def _done(self, then: Callable[[], object], _: None) -> None:
        self.count -= 1
        then()
