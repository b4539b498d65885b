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

from ipos.agent.loop import daemon_threads


def close(fds: Iterable[int]) -> None:
    for fd in fds:
        with suppress(OSError):
            os.close(fd)


def nothing(sock: socket.socket) -> None:
    """What is done before most sockets are closed."""


def _close(sock: socket.socket, before: Callable[[socket.socket], object]) -> None:
    with suppress(OSError):
        before(sock)
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
        before: Callable[[socket.socket], object] = nothing,
    ) -> None:
        """before: what is done to it, in the thread, too. then: called in the event loop when it is
        closed. Without a loop all of it is done now.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            _close(sock, before)
            then()
            return
        self.count += 1
        daemon_threads.begin(partial(_close, sock, before), partial(self._done, then))

    def _done(self, then: Callable[[], object], _: None) -> None:
        self.count -= 1
        then()
