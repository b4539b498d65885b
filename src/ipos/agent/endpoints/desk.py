# SPDX-License-Identifier: Apache-2.0
"""The Unix socket at which applications give endpoints and take them.

Any user may connect: what counts is what an application holds. It can give a connection whose
socket it has, and take those of a service whose listening socket it has.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ipos.closing import Closing
from ipos.endpoint import desk_message
from ipos.endpoint.desk_message import FDS_MAX, SIZE_MAX, Message
from ipos.errors import IposError

APPLICATIONS_MAX = 256
MODE = 0o666
_BACKLOG = 64
_AT_ONCE = 32
"""Messages of one application before others have their turn."""


class Application:
    """One connection of an application. services: those whose listener it has shown."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.services: frozenset[str] = frozenset()
        self.takes = False

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def is_there(self) -> bool:
        return self._socket.fileno() >= 0

    def say(self, said: Message, *fds: int) -> bool:
        """False when it has gone, or does not read."""
        try:
            socket.send_fds(self._socket, [desk_message.encode(said)], fds)
        except OSError:
            return False
        return True

    def receive(self) -> tuple[bytes, list[int]]:
        raw, fds, _, _ = socket.recv_fds(self._socket, SIZE_MAX, FDS_MAX)
        return raw, fds

    def close(self) -> None:
        self._socket.close()


Hear = Callable[[Application, Message, list[int]], None]


class Desk(Closing):
    """`hear` is called with each message and its descriptors, which are closed after; `gone` with
    an application that has left. IposError when there can be no socket."""

    def __init__(self, path: Path, hear: Hear, gone: Callable[[Application], None]) -> None:
        self._path, self._hear, self._gone = path, hear, gone
        self.applications: set[Application] = set()
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        before = os.umask(0o777 & ~MODE)
        try:
            self._listener.bind(str(path))
            self._listener.listen(_BACKLOG)
            self._listener.setblocking(False)
        except OSError as error:
            self._listener.close()
            raise IposError(f"cannot make {path}: {error.strerror or error}") from None
        finally:
            os.umask(before)

    def start(self) -> None:
        """In the event loop."""
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        with suppress(OSError):
            made, _ = self._listener.accept()
            if len(self.applications) >= APPLICATIONS_MAX:
                made.close()
                return
            made.setblocking(False)
            one = Application(made)
            self.applications.add(one)
            asyncio.get_running_loop().add_reader(made.fileno(), self._readable, one)

    def _readable(self, one: Application) -> None:
        for _ in range(_AT_ONCE):
            try:
                raw, fds = one.receive()
            except BlockingIOError:
                return
            except OSError:
                raw, fds = b"", []
            try:
                said = desk_message.decode(raw) if raw else None
                if said is None:
                    self._leave(one)
                    return
                self._hear(one, said, fds)
            finally:
                for fd in fds:
                    os.close(fd)

    def _leave(self, one: Application) -> None:
        asyncio.get_running_loop().remove_reader(one.fileno())
        self.applications.discard(one)
        one.close()
        self._gone(one)

    def close(self) -> None:
        for one in self.applications:
            one.close()
        self.applications.clear()
        self._listener.close()
        self._path.unlink(missing_ok=True)
