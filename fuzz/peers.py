# SPDX-License-Identifier: Apache-2.0
"""Both ends of a connection that lives, as much of them as `fuzz.settled` needs."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ipos.handshake.segment import Address, Flag, Segment
from native.values import Socket, SocketState
from tests.support.golden import packets as golden
from tests.support.golden.machine import LISTENER
from tests.support.golden.rows_close import SENT
from tests.support.golden.rows_migration import HEAD_END
from tests.support.golden.rows_request import SOCKET

_U32 = 0xFFFF_FFFF


@dataclass(slots=True)
class Kernel:
    """As much of a socket as the data plane asks about."""

    state: SocketState | None = SocketState.ESTABLISHED
    rcv_nxt: int = HEAD_END
    snd_nxt: int = SENT
    fin: int | None = None  # sequence number after ours
    reset: bool = False

    def sockets(self) -> list[Socket]:
        if self.state is None:
            return [LISTENER]
        return [LISTENER, Socket(self.state, SOCKET.service, golden.WEB, SOCKET.client,
                                 golden.PORT, self.rcv_nxt, copied_seq=self.rcv_nxt,
                                 snd_nxt=self.snd_nxt, write_seq=self.snd_nxt)]  # fmt: skip

    def takes(self, segment: Segment) -> bool:
        """What the client has sent, or what the iNIC has made of it; whether it is answered now."""
        if self.state is None or Flag.SYN in segment.flags:
            return False
        if Flag.RST in segment.flags:
            if segment.seq == self.rcv_nxt:
                self.state, self.reset = None, True
            return False
        end = segment.seq + len(segment.data)
        closing = self.fin is not None and Flag.FIN in segment.flags
        if segment.seq <= self.rcv_nxt <= end:
            self.rcv_nxt = end
            if Flag.FIN in segment.flags:
                self._closed_by_client()
        if self.fin is not None and segment.ack == self.fin:
            self._acknowledged()
        return closing  # tcp_fin() in net/ipv4/tcp_input.c; any other acknowledgement may wait

    def closes(self) -> None:
        self.snd_nxt += 1
        self.fin = self.snd_nxt
        late = self.state is SocketState.CLOSE_WAIT
        self.state = SocketState.LAST_ACK if late else SocketState.FIN_WAIT1

    def _closed_by_client(self) -> None:
        after = {SocketState.ESTABLISHED: SocketState.CLOSE_WAIT,
                 SocketState.FIN_WAIT1: SocketState.CLOSING,
                 SocketState.FIN_WAIT2: SocketState.TIME_WAIT}  # fmt: skip
        if self.state in after:
            self.rcv_nxt += 1
            self.state = after[self.state]

    def _acknowledged(self) -> None:
        match self.state:
            case SocketState.FIN_WAIT1:
                self.state = SocketState.FIN_WAIT2
            case SocketState.CLOSING:
                self.state = SocketState.TIME_WAIT
            case SocketState.LAST_ACK:
                self.state = None


@dataclass(slots=True)
class Client:
    """What the client has sent, lost or not."""

    nxt: int = HEAD_END
    fin: bool = False

    def segment(self, rng: random.Random, kernel: Kernel) -> Segment:
        ack = rng.choice((kernel.snd_nxt, kernel.snd_nxt, SENT, kernel.snd_nxt - 1))
        kind = rng.randrange(20)
        flags, seq, data = Flag.ACK, self.nxt, b""
        if kind < 7 and not self.fin:
            data = rng.randbytes(rng.choice((1, 5, 700)))
            self.nxt += len(data)
        elif kind < 9 and not self.fin:  # a segment before this one is lost
            self.nxt += 100
            seq, data = self.nxt, b"later"
            self.nxt += len(data)
        elif kind < 11:  # again, what is missing or what is not
            seq = rng.choice((kernel.rcv_nxt, HEAD_END))
            data = bytes(min(max(0, self.nxt - self.fin - seq), 1400))
        elif kind < 14 or self.fin:
            flags |= Flag.FIN
            seq, data = self.nxt - self.fin, b""
            self.nxt += not self.fin
            self.fin = True
        elif kind == 14:
            flags = rng.choice((Flag.RST, Flag.RST | Flag.ACK))
            seq = kernel.rcv_nxt
            seq = rng.choice((seq, seq, seq - 1, self.nxt, HEAD_END))
        elif kind == 15:
            flags, seq = Flag.SYN, rng.getrandbits(32)
        return _segment(SOCKET.client, golden.PORT, SOCKET.service, golden.WEB,
                        seq, ack, flags, data)  # fmt: skip


def answer_now(kernel: Kernel) -> Segment:
    return _ours(kernel, kernel.snd_nxt, Flag.ACK, b"")


def answer(rng: random.Random, kernel: Kernel) -> Segment:
    """What our kernel says: the same again, its end, or more."""
    kind = rng.randrange(10)
    flags, seq, data = Flag.ACK, kernel.snd_nxt, b""
    if kind < 4 and kernel.fin is None:
        data = rng.randbytes(rng.choice((1, 100, 1400)))
        kernel.snd_nxt += len(data)
    elif kind < 5:
        seq, data = SENT - 100, bytes(100)
    elif kind < 7 and kernel.fin is None:
        flags |= Flag.FIN
        data = rng.choice((b"", b"last"))
        kernel.snd_nxt += len(data)
        kernel.closes()
    elif kind == 7 and rng.random() < 0.3:
        flags |= Flag.RST
        kernel.state, kernel.reset = None, True
    return _ours(kernel, seq, flags, data)


def _ours(kernel: Kernel, seq: int, flags: Flag, data: bytes) -> Segment:
    return _segment(SOCKET.service, golden.WEB, SOCKET.client, golden.PORT,
                    seq, kernel.rcv_nxt, flags, data)  # fmt: skip


def _segment(
    source: Address, source_port: int, destination: Address, destination_port: int,
    seq: int, ack: int, flags: Flag, data: bytes,
) -> Segment:  # fmt: skip
    return Segment(
        source=source, source_port=source_port, destination=destination,
        destination_port=destination_port, seq=seq & _U32,
        ack=ack & _U32 if Flag.ACK in flags else 0, flags=flags, window=500, data=data,
    )  # fmt: skip
