# SPDX-License-Identifier: Apache-2.0
"""What applications show to the agent: descriptors of files that any process may have made.

How long it takes to ask such a file or to close it is decided by its maker: a socket lingers, its
lock is held by a thread that waits for memory, a file of FUSE answers when its program likes. So
`look` belongs into a thread of its own (`ipos.agent.loop.daemon_threads`), and the event loop
touches no socket before it is known as one of the farm.
"""

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from ipos.agent.endpoints import tcp_repair
from ipos.agent.endpoints.transfer_message import STATE_MAX
from ipos.agent.host.listeners import Listener, listening
from ipos.agent.loop.let_go import close
from ipos.endpoint.desk_message import FDS_MAX, Give, Message, Register, read_file
from ipos.errors import IposError

Ends = tuple[bytes, int, bytes, int]
"""Address and port of a client, and of the service that it uses."""


@dataclass(frozen=True, slots=True)
class Shown:
    """sock: the first descriptor, if it is a socket. why: what is wrong with it or with the rest.

    listener: the socket of this network namespace that it is. ends: of a connection. content: what
    is in the memory file beside it.
    """

    sock: socket.socket | None = None
    cookie: int = 0
    listener: Listener | None = None
    ends: Ends | None = None
    content: bytes = b""
    why: str = ""


NOTHING = Shown(why="it has shown no socket")


def connection_of(sock: socket.socket) -> Ends:
    """Client and service of a socket. Unmovable when it is no connection over IPv4."""
    try:
        kind = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL)
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or kind != socket.IPPROTO_TCP:
            raise tcp_repair.Unmovable("it is no TCP socket")
        client, service = sock.getpeername(), sock.getsockname()
    except OSError as error:
        raise tcp_repair.Unmovable(f"the socket has no connection: {error.strerror}") from None
    found = []
    for address, port, *_ in (client, service):
        ip = ip_address(address)
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if not isinstance(ip, IPv4Address):
            raise tcp_repair.Unmovable("connections over IPv6 do not migrate with state yet")
        found += [ip.packed, port]
    return found[0], found[1], found[2], found[3]


def look(said: Message, fds: list[int]) -> Shown:
    """Look at what came with a message. The descriptors are closed but the one of `sock`."""
    sock = None
    left = list(fds)
    try:
        sock = socket.socket(fileno=left[0])
        del left[0]
        cookie = tcp_repair.cookie(sock)
        if isinstance(said, Register):
            found = (one for one in listening() if one.cookie == cookie)
            return Shown(sock, cookie, listener=next(found, None))
        content = b""
        if isinstance(said, Give):
            if len(fds) != FDS_MAX:
                return Shown(sock, why="its state is missing")
            content = _content(left[0])
        return Shown(sock, cookie, ends=connection_of(sock), content=content)
    except (OSError, IposError) as error:
        return Shown(sock, why=str(error))
    finally:
        close(left)


def _content(fd: int) -> bytes:
    try:
        return read_file(fd, STATE_MAX)
    except (OSError, ValueError) as error:
        raise IposError(f"its state: {error}") from None
