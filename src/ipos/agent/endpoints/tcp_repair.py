# SPDX-License-Identifier: Apache-2.0
"""Reads a TCP socket whole, and makes another one of it: TCP_REPAIR of Linux (tcp(7)).

The socket that is read must be deaf and dumb before: no packet reaches it, and none of its own
leaves. A packet that was on its way may still come while it is read; then it is read once more. A
socket in repair that is closed says nothing to anybody.

Bytes that were never sent cannot be put into a queue: `restore` gives the socket those that were,
and whoever gets the socket writes the others when it is live.
"""

import ctypes
import fcntl
import os
import socket
import struct
from dataclasses import dataclass, replace

from ipos.errors import IposError
from ipos.wire.control import ControlBlock, ControlFlags, TcpState

_REPAIR, _QUEUE, _SEQ, _OPTIONS, _TIMESTAMP, _WINDOW, _INFO = 19, 20, 21, 22, 24, 29, 11
_NONE, _RECEIVE, _SEND = 0, 1, 2
_OFF, _ON = 0, 1
_OUTQ, _OUTQ_UNSENT, _INQ = 0x5411, 0x894B, 0x541B
_MSS, _WSCALE, _SACK, _STAMPS = 2, 3, 4, 8
_INFO_STAMPS, _INFO_SACK, _INFO_WSCALE, _INFO_ECN, _INFO_USEC = 1, 2, 4, 8, 64
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _SO_MARK, _SO_BUF_LOCK, _SO_COOKIE = 32, 33, 36, 72, 57
_FREEBIND = 15
_BUFFERS = socket.SO_SNDBUF, socket.SO_RCVBUF
_TRIES = 16
_PIECE = 1 << 16
_ROOM = 1 << 18
_U32 = 0xFFFF_FFFF
_INFO_HEAD = struct.Struct("=BBBBBBBBII")
_INFO_REST = struct.Struct("=24I")
"""From tcpi_ato on: 2 to 25 of its 32-bit numbers."""
_WINDOWS = struct.Struct("=5I")
_libc = ctypes.CDLL(None, use_errno=True)


class Unmovable(IposError):
    """A socket cannot migrate, or none can be made of an image. The sentence says why."""


@dataclass(frozen=True, slots=True)
class Image:
    """All that a kernel must know of an endpoint. max_window: the largest the client offered."""

    block: ControlBlock
    max_window: int
    received: bytes
    """What the client was told that we have, and no application has read."""
    to_send: bytes
    """What an application has written, and the client has not acknowledged."""

    @property
    def unsent(self) -> bytes:
        sent = self.block.snd_nxt - self.block.snd_una & _U32
        return self.to_send[sent:]


def mark(sock: socket.socket, value: int) -> None:
    """Give all that the socket says this mark. OSError for who may not."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, value)


def marked(sock: socket.socket) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, _SO_MARK)


def cookie(sock: socket.socket) -> int:
    """What the kernel knows the socket by."""
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8), "little")


def _u32(raw: int) -> int:
    return raw & _U32


def _count(sock: socket.socket, what: int) -> int:
    found = bytearray(4)
    fcntl.ioctl(sock, what, found)
    return int.from_bytes(found, "little")


def _stands(sock: socket.socket) -> tuple[int, ...]:
    """Where both queues end, and how long they are. Leaves the receive queue chosen."""
    tcp = socket.IPPROTO_TCP
    sock.setsockopt(tcp, _QUEUE, _SEND)
    written = _u32(sock.getsockopt(tcp, _SEQ))
    unacknowledged, unsent = _count(sock, _OUTQ), _count(sock, _OUTQ_UNSENT)
    sock.setsockopt(tcp, _QUEUE, _RECEIVE)
    return written, unacknowledged, unsent, _u32(sock.getsockopt(tcp, _SEQ)), _count(sock, _INQ)


def _peek(sock: socket.socket, queue: int, length: int) -> bytes:
    if not length:
        return b""
    sock.setsockopt(socket.IPPROTO_TCP, _QUEUE, queue)
    return sock.recv(length, socket.MSG_PEEK | socket.MSG_DONTWAIT)


def freeze(sock: socket.socket) -> None:
    """Put it into repair. OSError for who may not."""
    sock.setsockopt(socket.IPPROTO_TCP, _REPAIR, _ON)


def thaw(sock: socket.socket) -> None:
    """Out of repair: its kernel asks the client where it stands.

    An application may listen on its port again, as before: the kernel has forgotten that.
    """
    sock.setsockopt(socket.IPPROTO_TCP, _REPAIR, _OFF)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def leave(sock: socket.socket) -> None:
    """The socket in repair has no connection any more, in whatever process it is; nothing is
    sent."""
    nowhere = struct.pack("=H14x", socket.AF_UNSPEC)
    if _libc.connect(sock.fileno(), nowhere, len(nowhere)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def dump(sock: socket.socket, known: ControlBlock, longest: int) -> Image:
    """Read a socket that is in repair. known: what the data plane's row says of it.

    Unmovable for one that is not established, or whose queues are longer than `longest` bytes.
    """
    tcp = socket.IPPROTO_TCP
    raw = sock.getsockopt(tcp, _INFO, 256)
    state = raw[0]
    if state != TcpState.ESTABLISHED:
        raise Unmovable("the connection is closing, and such a one does not migrate")
    before = _stands(sock)
    for _ in range(_TRIES):
        written, unacknowledged, unsent, rcv_nxt, unread = before
        if unacknowledged + unread > longest:
            raise Unmovable(
                f"{unacknowledged} bytes are not acknowledged and {unread} not read; an endpoint "
                f"migrates with {longest} at most"
            )
        received = _peek(sock, _RECEIVE, unread)
        to_send = _peek(sock, _SEND, unacknowledged)
        windows = _WINDOWS.unpack(sock.getsockopt(tcp, _WINDOW, _WINDOWS.size))
        after = _stands(sock)
        if after == before:
            break
        before = after
    else:
        raise Unmovable("packets still reach the socket while it is read")
    if len(received) != unread or len(to_send) != unacknowledged:
        raise Unmovable("its queues cannot be read whole; urgent data and SO_PEEK_OFF do that")
    snd_wl1, snd_wnd, max_window, rcv_wnd, rcv_wup = windows
    info = _INFO_REST.unpack_from(raw.ljust(256, b"\0"), 16)
    snd_una = written - unacknowledged & _U32
    return Image(
        replace(
            known,
            state=TcpState.ESTABLISHED,
            flags=_flags(raw[5]) | known.flags & (ControlFlags.LOCATED),
            snd_una=snd_una,
            snd_nxt=written - unsent & _U32,
            snd_max=written,
            snd_wl1=snd_wl1,
            snd_wl2=snd_una,
            snd_wnd=snd_wnd,
            rcv_nxt=rcv_nxt,
            rcv_wnd=rcv_wnd,
            rcv_adv=rcv_wup + rcv_wnd & _U32,
            peer_mss=sock.getsockopt(tcp, socket.TCP_MAXSEG),
            effective_mss=min(info[0], 0xFFFF),
            snd_wscale=raw[6] & 15,
            rcv_wscale=raw[6] >> 4,
            ts_last_sent=_u32(sock.getsockopt(tcp, _TIMESTAMP)),
            srtt_us=info[13],
            rttvar_us=info[14],
            rto_us=struct.unpack_from("=I", raw, 8)[0],
            snd_cwnd_segments=info[16],
            snd_ssthresh_segments=info[15],
            send_queue_bytes=unacknowledged,
            receive_queue_bytes=unread,
        ),
        max_window,
        received,
        to_send,
    )


def _flags(options: int) -> ControlFlags:
    """Of tcpi_options."""
    pairs = (
        (_INFO_STAMPS, ControlFlags.TIMESTAMPS),
        (_INFO_SACK, ControlFlags.SACK),
        (_INFO_WSCALE, ControlFlags.WINDOW_SCALE),
        (_INFO_ECN, ControlFlags.ECN),
        (_INFO_USEC, ControlFlags.MICROSECOND_TIMESTAMPS),
    )
    found = ControlFlags.NONE
    for bit, flag in pairs:
        if options & bit:
            found |= flag
    return found


def begin(family: socket.AddressFamily, its_mark: int) -> socket.socket:
    """A socket in repair for an image that is still to come. OSError from the kernel."""
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        mark(made, its_mark)
        made.setsockopt(socket.IPPROTO_TCP, _REPAIR, _ON)
        made.setsockopt(socket.IPPROTO_IP, _FREEBIND, 1)
    except OSError:
        made.close()
        raise
    return made


def restore(
    made: socket.socket, image: Image, service: tuple[str, int], client: tuple[str, int]
) -> None:
    """Make `made`, of `begin`, the socket of the image. It stays in repair. OSError where the
    kernel has another socket of the connection, or does not take the image."""
    block, tcp = image.block, socket.IPPROTO_TCP
    usual = [made.getsockopt(socket.SOL_SOCKET, each) for each in _BUFFERS]
    made.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _ROOM + 4 * len(image.to_send))
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM + 4 * len(image.received))
    made.setsockopt(tcp, _QUEUE, _SEND)
    made.setsockopt(tcp, _SEQ, _signed(block.snd_una))
    made.setsockopt(tcp, _QUEUE, _RECEIVE)
    made.setsockopt(tcp, _SEQ, _signed(block.rcv_nxt - len(image.received)))
    # Else the kernel begins with the smallest segments, and stays with them.
    made.setsockopt(tcp, socket.TCP_MAXSEG, max(88, min(block.peer_mss, 32767)))
    made.bind(service)
    made.connect(client)
    made.setsockopt(tcp, _OPTIONS, _options(block))
    if ControlFlags.TIMESTAMPS in block.flags:
        # Two ticks more: the lowest bit says what a tick is, and time does not go back.
        made.setsockopt(tcp, _TIMESTAMP, _signed(block.ts_last_sent + 2))
    _fill(made, _RECEIVE, image.received)
    _fill(made, _SEND, image.to_send[: block.snd_nxt - block.snd_una & _U32])
    rcv_wup = block.rcv_adv - block.rcv_wnd & _U32
    max_window = max(image.max_window, block.snd_wnd)
    windows = (block.snd_wl1, block.snd_wnd, max_window, block.rcv_wnd, rcv_wup)
    made.setsockopt(tcp, _WINDOW, _WINDOWS.pack(*windows))
    made.setsockopt(tcp, _QUEUE, _NONE)
    # What is in the queues stays there, and no more: else both would grow with each migration.
    # The kernel doubles these numbers, and splits no segment while twice as much is queued.
    for force, size, queue in (
        (_SO_SNDBUFFORCE, usual[0], image.to_send),
        (_SO_RCVBUFFORCE, usual[1], image.received),
    ):
        made.setsockopt(socket.SOL_SOCKET, force, max(size, len(queue)) // 2)
    made.setsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK, 0)


def _signed(number: int) -> int:
    number &= _U32
    return number - (1 << 32) if number >> 31 else number


def _options(block: ControlBlock) -> bytes:
    pairs = [(_MSS, block.peer_mss)]
    if ControlFlags.WINDOW_SCALE in block.flags:
        pairs.append((_WSCALE, block.snd_wscale | block.rcv_wscale << 16))
    if ControlFlags.SACK in block.flags:
        pairs.append((_SACK, 0))
    if ControlFlags.TIMESTAMPS in block.flags:
        pairs.append((_STAMPS, 0))
    return b"".join(struct.pack("=II", *pair) for pair in pairs)


def _fill(made: socket.socket, queue: int, data: bytes) -> None:
    if not data:
        return
    made.setsockopt(socket.IPPROTO_TCP, _QUEUE, queue)
    left = memoryview(data)
    while left:
        left = left[made.send(left[:_PIECE], socket.MSG_DONTWAIT) :]


def go_live(made: socket.socket) -> None:
    """It is the connection's socket from now on."""
    mark(made, 0)
    thaw(made)
