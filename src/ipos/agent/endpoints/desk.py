# SPDX-License-Identifier: Apache-2.0
"""The Unix socket at which applications give endpoints and take them.

Any user may connect: what counts is what an application holds. It can give a connection whose
socket it has, and take those of a service whose listening socket it has.

An application that has shown neither has little: one message in 50 ms is read of it, and its place
is the first that others get. What it shows is looked at in a thread, and meanwhile nothing more is
read of it.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ipos.agent.endpoints.shown import NOTHING, Shown, look
from ipos.agent.loop import daemon_threads
from ipos.agent.loop.let_go import LetGo, close
from ipos.closing import Closing
from ipos.endpoint import desk_message
from ipos.endpoint.desk_message import FDS_MAX, SIZE_MAX, Message
from ipos.errors import IposError

APPLICATIONS_MAX = 256
USER_MAX = 64
"""Of one user but root."""
MODE = 0o666
_BACKLOG = 64
_AT_ONCE = 8
"""Messages of one application before others have their turn."""
_PAUSE_S = 0.05
_CREDENTIALS = struct.Struct("=iII")


class Application:
    """One connection of an application. services: those whose listener it has shown, `cookie`.

    proven: whether it has shown any listener or connection of the farm.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, self.user, _ = _CREDENTIALS.unpack(raw)
        self.services: frozenset[str] = frozenset()
        self.cookie = 0
        self.takes = False
        self.proven = False

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


Hear = Callable[[Application, Message, Shown], bool]


class Desk(Closing):
    """`hear` is called with each message and what came with it, and says whether it keeps the
    socket; `gone` with an application that has left. IposError when there can be no socket."""

    def __init__(
        self, path: Path, hear: Hear, gone: Callable[[Application], None], let_go: LetGo
    ) -> None:
        self._path, self._hear, self._gone, self._let_go = path, hear, gone, let_go
        self.applications: dict[Application, None] = {}
        self._looked_at: set[Application] = set()
        """Those whose descriptors a thread has. They keep their place when they have left."""
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
        try:
            made, _ = self._listener.accept()
            made.setblocking(False)
            one = Application(made)
        except BlockingIOError:
            return
        except OSError:  # too many open files: more of them come when some have gone
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listener.fileno())
            loop.call_later(_PAUSE_S, self._go_on)
            return
        if not self._has_place(one):
            one.close()
            return
        self.applications[one] = None
        self._read(one)

    def _go_on(self) -> None:
        if self._listener.fileno() >= 0:
            self.start()

    def _has_place(self, one: Application) -> bool:
        """Whether it may stay. The oldest that has shown nothing goes, if there are too many."""
        there = {*self.applications, *self._looked_at}
        if one.user and sum(other.user == one.user for other in there) >= USER_MAX:
            return False
        if len(there) < APPLICATIONS_MAX:
            return True
        idle = (each for each in self.applications if not each.proven)
        oldest = next((each for each in idle if each not in self._looked_at), None)
        if oldest is not None:
            self._leave(oldest)
        return oldest is not None

    def _read(self, one: Application) -> None:
        if one.is_there:
            asyncio.get_running_loop().add_reader(one.fileno(), self._readable, one)

    def _readable(self, one: Application) -> None:
        for _ in range(_AT_ONCE):
            try:
                raw, fds = one.receive()
            except BlockingIOError:
                return
            except OSError:
                raw, fds = b"", []
            said = desk_message.decode(raw) if raw else None
            if fds:
                self._look(one, said, fds)
                return
            if said is None:
                self._leave(one)
                return
            self._hear(one, said, NOTHING)

    def _look(self, one: Application, said: Message | None, fds: list[int]) -> None:
        asyncio.get_running_loop().remove_reader(one.fileno())
        self._looked_at.add(one)
        if said is None:
            daemon_threads.begin(partial(close, fds), lambda _: self._looked(one))
            self._leave(one)
            return
        daemon_threads.begin(partial(look, said, fds), partial(self._heard, one, said))

    def _heard(self, one: Application, said: Message, shown: Shown) -> None:
        kept = one.is_there and self._hear(one, said, shown)
        if kept or shown.sock is None:
            self._looked(one)
        else:
            self._let_go(shown.sock, partial(self._looked, one))

    def _looked(self, one: Application) -> None:
        self._looked_at.discard(one)
        if one.proven:
            self._read(one)
        else:
            asyncio.get_running_loop().call_later(_PAUSE_S, self._read, one)

    def _leave(self, one: Application) -> None:
        asyncio.get_running_loop().remove_reader(one.fileno())
        del self.applications[one]
        one.close()
        self._gone(one)

    def close(self) -> None:
        for one in self.applications:
            one.close()
        self.applications.clear()
        self._listener.close()
        self._path.unlink(missing_ok=True)
