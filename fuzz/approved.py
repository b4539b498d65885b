# SPDX-License-Identifier: Apache-2.0
"""What the data plane lets through of later requests, beside what an application then reads.

A connection of ours that is decided at every request has a client that tries everything: segments
in any order, again, with other bytes at the same place, longer or shorter, with wrong checksums and
acknowledgements and old timestamps. Its kernel takes segments in batches, keeps what comes behind a
gap as Linux does, lets a busy process wait, and drops what it has no memory for. No head that may
not be served (it names no host) must ever be in what the application reads. And what an honest
client sends, again as long as it is not acknowledged, must all be read.
"""

from __future__ import annotations

import random
from collections import deque
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from ipos.handshake.segment import Flag, Segment, parse_packet
from native.values import Socket, SocketState, Tc, Xdp
from tests.support.golden import packets as golden
from tests.support.golden.machine import LISTENER, Config, NativeMachine, configure
from tests.support.golden.rows_close import SENT, local
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_migration import HEAD_END
from tests.support.golden.rows_move import FOLLOWED
from tests.support.golden.rows_request import SOCKET

STREAM = 6_000
UNFIT = b"GET /unfit HTTP/1.1\r\n\r\n"
_EVERY = Config(decide="REQUEST")
_VOID = 0x69704F55
_ROUNDS = 200
_STALE = golden.TS_LATER - 10


def fit(rng: random.Random) -> bytes:
    """A request that may be served here."""
    host = b"Host: shop.example\r\n"
    kind = rng.randrange(4)
    if kind < 2:
        return b"GET /%d HTTP/1.1\r\n%s\r\n" % (rng.randrange(1000), host)
    if kind == 2:
        body = content(rng, rng.choice((0, 1, 30, 300)))
        return b"POST / HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s" % (host, len(body), body)
    chunks = [content(rng, rng.choice((1, 3, 30, 200))) for _ in range(rng.randrange(5))]
    body = b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in [*chunks, b""])
    return b"POST / HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n%s" % (host, body)


def content(rng: random.Random, size: int) -> bytes:
    """As like requests as it can be."""
    return (UNFIT * (size // len(UNFIT) + 1))[:size] if rng.random() < 0.7 else bytes(size)


def stream(rng: random.Random, unfit: float) -> bytes:
    made = b""
    while len(made) < STREAM:
        made += UNFIT if rng.random() < unfit else fit(rng)
    return made


def unfit_read(data: bytes) -> bool:
    """Whether the application has read a head without a host."""
    at = 0
    while (end := data.find(b"\r\n\r\n", at)) >= 0:
        head = data[at:end].lstrip(b"\r\n").lower()
        if not head.startswith((b"get /", b"post /")):
            return False  # no HTTP any more
        if b"host:" not in head:
            return True
        at = end + 4
        if b"content-length: " in head:
            size = head.split(b"content-length: ")[1].split(b"\r\n")[0]
            if not size.isdigit():
                return False
            at += int(size)
        elif b"chunked" in head:
            at = _behind_chunks(data, at)
    return False


def _behind_chunks(data: bytes, at: int) -> int:
    while (end := data.find(b"\r\n", at)) >= 0:
        try:
            size = int(data[at:end], 16)
        except ValueError:
            return len(data)  # an application ends here
        at = end + 2 + size + 2
        if not size:
            return at
    return len(data)


@dataclass(slots=True)
class Kernel:
    """A socket's receiving side: `later` are bytes behind a gap, by their place in the stream."""

    rng: random.Random
    short: float
    read: bytearray = field(default_factory=bytearray)
    later: dict[int, int] = field(default_factory=dict)
    busy: bool = False
    backlog: list[Segment] = field(default_factory=list)
    alive: bool = True
    ts_recent: int = 0

    @property
    def next(self) -> int:
        return HEAD_END + len(self.read)

    def sockets(self) -> list[Socket]:
        if not self.alive:
            return [LISTENER]
        return [LISTENER, Socket(
            SocketState.ESTABLISHED, SOCKET.service, golden.WEB, SOCKET.client, golden.PORT,
            self.next, copied_seq=self.next, snd_nxt=SENT, write_seq=SENT,
            ts_recent=self.ts_recent, waiting=len(self.backlog), gaps=bool(self.later),
        )]  # fmt: skip

    def takes(self, packet: bytes) -> None:
        """A packet that tc has let through."""
        try:
            segment = parse_packet(packet)
        except ValueError:
            return
        if self.busy:
            self.backlog.append(segment)
        else:
            self._takes(segment)

    def freed(self) -> None:
        self.busy = False
        for segment in self.backlog:
            self._takes(segment)
        self.backlog = []

    def _takes(self, segment: Segment) -> None:
        if not self.alive:
            return
        if Flag.RST in segment.flags:
            self.alive &= segment.seq != self.next
            return
        stamp = int.from_bytes(segment.options[4:8], "big")
        if Flag.ACK not in segment.flags or segment.ack != SENT or stamp < self.ts_recent:
            return
        if self.rng.random() < self.short:
            return  # no memory
        end = segment.seq + len(segment.data)
        if segment.seq > self.next:
            for place, byte in enumerate(segment.data, segment.seq):
                self.later[place] = byte  # what comes last stays, as the longest does in Linux
            return
        self.ts_recent = max(self.ts_recent, stamp)
        self.read += segment.data[self.next - segment.seq :] if end > self.next else b""
        while self.next in self.later:
            self.read.append(self.later.pop(self.next))
        self.later = {place: byte for place, byte in self.later.items() if place > self.next}


@dataclass(slots=True)
class Server:
    """The node, and what is between its tc program and its TCP."""

    machine: NativeMachine
    kernel: Kernel
    batch: list[bytes] = field(default_factory=list)
    queue: deque[tuple[bytes, int]] = field(default_factory=deque)
    reset: bool = False

    def receives(self, frame: bytes) -> None:
        """Off the wire; what is let through waits for the end of its batch."""
        self.machine.listen(self.kernel.sockets())
        front = self.machine.ifindex("front")
        outcome = self.machine.node.xdp(frame, front)
        if outcome.verdict == Xdp.PASS:
            self._through(outcome.frame, 0)

    def _through(self, frame: bytes, mark: int) -> None:
        self.machine.listen(self.kernel.sockets())
        outcome = self.machine.node.ingress(frame, self.machine.ifindex("front"), mark)
        if outcome.verdict == Tc.OK:
            self.batch.append(outcome.frame[14:])
        for sent in outcome.sent:
            if sent.inward:
                self.queue.append((sent.frame, sent.mark))
            else:
                self.reset |= Flag.RST in parse_packet(sent.frame[14:]).flags

    def settles(self) -> None:
        """The batch, and then one by one what went round."""
        turns = 0
        while True:
            for packet in self.batch:
                self.kernel.takes(packet)
            self.batch = []
            if not self.queue:
                return
            turns += 1
            assert turns < 2_000, "packets go round for ever"
            frame, mark = self.queue.popleft()
            self._through(frame, 0 if mark == _VOID else mark)


def begin(rng: random.Random, short: float) -> Server:
    machine = NativeMachine()
    configure(machine, _EVERY)
    row = local(**FOLLOWED)["local"][0][1]
    machine.table("local")[KEY] = {**row, "asked": 1, "answered": 1}
    return Server(machine, Kernel(rng, short))


def segment(rng: random.Random, texts: list[bytes], at: int) -> bytes:
    """Some bytes of one of the streams, mostly near `at`, mostly sound."""
    start = max(0, at + rng.choice((0, 0, 0, 0, -50, -300, 40, 200, rng.randrange(-500, 500))))
    size = rng.choice((1, 20, 80, 300, 900, 1400, rng.randrange(1, 1400)))
    data = rng.choice(texts)[start : start + size]
    fields: dict[str, Any] = {}
    flags, kind = "PA", rng.randrange(16)
    if kind == 0:
        fields["damage"] = 1 + rng.randrange(0xFFFE)
    elif kind == 1:
        fields["ack"] = SENT + rng.choice((1, -100_000, 1 << 30))
    elif kind == 2:
        flags = "P"
    elif kind == 3:
        fields["options"] = golden.echo(_STALE)
    fields.setdefault("ack", SENT)
    return golden.client(flags, data, seq=HEAD_END + start, **fields)


def attack(rng: random.Random) -> str:
    """One connection; what was wrong, if anything was."""
    server = begin(rng, rng.choice((0.0, 0.0, 0.1, 0.4)))
    with closing(server.machine):
        texts = [stream(rng, 0.0), stream(rng, 0.3), stream(rng, rng.choice((0.0, 0.3)))]
        for _ in range(_ROUNDS):
            kernel = server.kernel
            for _ in range(rng.choice((1, 1, 2, 5))):
                server.receives(segment(rng, texts, len(kernel.read)))
            kernel.busy |= rng.random() < 0.2
            server.settles()
            if rng.random() < 0.5:
                kernel.freed()
            if unfit_read(bytes(kernel.read)):
                return f"the application read {bytes(kernel.read)!r}"
            if not kernel.alive or server.reset or KEY in server.machine.table("holding"):
                break
    return ""


def honest(rng: random.Random) -> str:
    """One connection whose client sends the same again until all of it is read."""
    server = begin(rng, rng.choice((0.0, 0.05)))
    text = stream(rng, 0.0)
    with closing(server.machine):
        kernel = server.kernel
        for _ in range(3_000):
            at = len(kernel.read)
            if at >= len(text) or not kernel.alive or server.reset:
                break
            for _ in range(rng.choice((1, 3, 8))):
                size = rng.choice((30, 300, 1400))
                data = text[at : at + size]
                if data and rng.random() < 0.9:
                    server.receives(golden.client("PA", data, seq=HEAD_END + at, ack=SENT))
                at += size
            kernel.busy = rng.random() < 0.2
            server.settles()
            kernel.freed()
        if not kernel.short and bytes(kernel.read) != text:
            return f"{len(kernel.read)} of {len(text)} bytes were read"
        if kernel.short and bytes(kernel.read) != text[: len(kernel.read)]:
            return "other bytes were read"
    return ""


def run(seed: int, count: int) -> tuple[int, list[str]]:
    """So many connections; how many there were, and what differed."""
    rng = random.Random(seed)
    found: list[str] = []
    for done in range(count):
        told = attack(rng) if done % 4 else honest(rng)
        if told:
            found.append(f"connection {done} of seed {seed}: {told}")
        if len(found) == 5:
            return done + 1, found
    return count, found
