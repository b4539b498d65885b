# SPDX-License-Identifier: Apache-2.0
"""A TCP client in user space, for what a kernel's TCP would never send.

Its packets leave the client node by a raw socket. What comes back is read by a packet socket; the
node's own kernel must not see it, or it would answer with a reset, so a rule of nftables drops the
client's port range before its TCP does. One connection at a time, no congestion control: it sends
what it is told and acknowledges all that comes in order.
"""

import os
import random
import socket
import struct
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from scapy.layers.inet import IP, TCP

from ipos.lab.nftables import load
from tests.farm.wire import packet_socket
from tests.support.farm import ANY, CLIENT, Answer, Farm, grown

FIRST_PORT, LAST_PORT = 700, 1000
"""Below the client's own ephemeral ports."""

_RULES = f"""\
table ip farm_usertcp
delete table ip farm_usertcp
table ip farm_usertcp {{
    chain before {{
        type filter hook prerouting priority raw
        ip saddr 203.0.113.0/24 tcp dport {FIRST_PORT}-{LAST_PORT} drop
    }}
}}
"""
_next_port = FIRST_PORT
_prepared: set[str] = set()

Options = list[tuple[str, object]]
SYN_OPTIONS: Options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("WScale", 7)]


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that came from a server."""

    seq: int
    ack: int
    flags: str
    window: int
    options: Mapping[str, object]
    payload: bytes


def prepare(farm: Farm) -> None:
    """Keep client1's kernel out of the port range, once per lab."""
    if farm.lab.name not in _prepared:
        load(farm.lab.place("client1"), _RULES)
        _prepared.add(farm.lab.name)


def _take_port() -> int:
    global _next_port
    port = _next_port
    _next_port = FIRST_PORT + (port + 1 - FIRST_PORT) % (LAST_PORT + 1 - FIRST_PORT)
    return port


class UserTcp:
    """One connection. `options` are scapy's, of the SYN; timestamps are kept up if it has them."""

    def __init__(
        self,
        farm: Farm,
        port: int = ANY,
        server: str = "s1",
        *,
        options: Options | None = None,
        mss: int | None = None,
        window: int = 65535,
    ) -> None:
        prepare(farm)
        self._farm = farm
        self.options = list(SYN_OPTIONS if options is None else options)
        if mss is not None:
            self.options = [("MSS", mss), *(each for each in self.options if each[0] != "MSS")]
        self.destination = (farm.address(server), port)
        self.port = _take_port()
        self.isn = random.getrandbits(32)
        self.window = window
        self.next_seq = self.isn + 1
        self.received = b""
        self.fin = False
        self.reset = False
        self.server_isn = 0
        self.syn_ack: Segment | None = None
        self._timestamps = any(name == "Timestamp" for name, _ in self.options)
        self._ts_recent = 0
        self._out = packet_out(farm)
        self._in = packet_socket(farm, "client1", "front")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.reset and self.syn_ack:
            self.send("RA", self.next_seq)
        self._out.close()
        self._in.close()

    # ---- sending -----------------------------------------------------------------------------

    @property
    def ack(self) -> int:
        """What the client expects next."""
        return (self.server_isn + 1 + len(self.received) + self.fin) % 2**32

    def packet(self, flags: str, seq: int, data: bytes = b"", **fields: object) -> IP:
        """A segment of this connection. fields: scapy's, of the TCP header."""
        options: Options = [] if not self._timestamps else self._timestamp()
        header: dict[str, object] = {
            "sport": self.port,
            "dport": self.destination[1],
            "seq": seq % 2**32,
            "ack": self.ack if "A" in flags else 0,
            "flags": flags,
            "window": self.window,
            "options": options,
        }
        return IP(src=CLIENT, dst=self.destination[0]) / TCP(**{**header, **fields}) / data

    def _timestamp(self) -> Options:
        now = time.monotonic_ns() // 1_000_000 % 2**32
        return [("NOP", None), ("NOP", None), ("Timestamp", (now, self._ts_recent))]

    def emit(self, packet: IP) -> None:
        self._out.sendto(bytes(packet), (self.destination[0], 0))

    def send(self, flags: str, seq: int, data: bytes = b"", **fields: object) -> None:
        self.emit(self.packet(flags, seq, data, **fields))

    def send_at(self, offset: int, data: bytes, flags: str = "PA") -> None:
        """Data at its place in the stream, whatever has been sent before."""
        self.send(flags, self.isn + 1 + offset, data)
        self.next_seq = max(self.next_seq, self.isn + 1 + offset + len(data))

    # ---- receiving -----------------------------------------------------------------------------

    def segment(self, timeout_s: float = 2.0) -> Segment | None:
        """The next segment of the connection; None when the time is over."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            self._in.settimeout(left)
            try:
                frame, address = self._in.recvfrom(1 << 17)
            except (TimeoutError, BlockingIOError):
                return None
            if address[2] == socket.PACKET_OUTGOING:
                continue
            found = self._parse(frame)
            if found:
                return found
        return None

    def _parse(self, frame: bytes) -> Segment | None:
        if frame[12:14] != b"\x08\x00" or frame[23] != 6:
            return None
        if struct.unpack_from("!HH", frame, 34) != (self.destination[1], self.port):
            return None
        total = struct.unpack_from("!H", frame, 16)[0] or len(frame) - 14
        packet = IP(frame[14 : 14 + total])
        tcp = packet[TCP]
        options = {name: value for name, value in tcp.options if name != "NOP"}
        if "Timestamp" in options:
            self._ts_recent = options["Timestamp"][0]
        data = frame[34 + tcp.dataofs * 4 : 14 + total]
        return Segment(tcp.seq, tcp.ack, str(tcp.flags), tcp.window, options, data)

    def take(self, segment: Segment) -> None:
        """What a segment says, if it is next in order; else nothing, and the server sends again."""
        if "R" in segment.flags:
            self.reset = True
            return
        if segment.seq == self.ack:
            self.received += segment.payload
            if "F" in segment.flags:
                self.fin = True

    def pump(self, timeout_s: float = 2.0) -> Segment | None:
        """Take one segment, and acknowledge it if it carries anything or is not what is expected.

        So a keepalive is answered, which has a number before that (RFC 9293 section 3.8.4).
        """
        segment = self.segment(timeout_s)
        if segment:
            expected = segment.seq == self.ack
            self.take(segment)
            if not self.reset and (segment.payload or "F" in segment.flags or not expected):
                self.send("A", self.next_seq)
        return segment

    # ---- whole steps ---------------------------------------------------------------------------

    def connect(self) -> Segment:
        """The three-way handshake; the SYN-ACK."""
        answer = self._ask()
        assert answer.flags.replace("E", "") == "SA", answer
        assert answer.ack == (self.isn + 1) % 2**32
        self.syn_ack = answer
        self.server_isn = answer.seq
        self._timestamps = self._timestamps and "Timestamp" in answer.options
        self.send("A", self.isn + 1)
        return answer

    def _ask(self) -> Segment:
        """The answer to a SYN, which is sent again as TCP does (RFC 6298 section 2.1).

        One that was lost on its way is told of, with what the servers counted meanwhile.
        """
        before = self._farm.all_counters()
        for wait_s in (1.0, 2.0, 4.0):
            self.send("S", self.isn, options=self.options)
            answer = self.segment(wait_s)
            if answer is not None:
                return answer
            meanwhile = {
                server: grown(counts, self._farm.counters(server))
                for server, counts in before.items()
            }
            told = f"no answer to the SYN of port {self.port} in {wait_s} s: {meanwhile}"
            warnings.warn(told, stacklevel=3)
        raise AssertionError(told)

    def finish_sending(self, data: bytes) -> None:
        """Send again from where the server's acknowledgement stands, until an answer begins."""
        size = 536
        for _ in range(100):
            segment = self.pump(0.05)
            if self.received or self.reset:
                return
            if segment is not None and "A" in segment.flags:
                self._acknowledged = (segment.ack - self.isn - 1) % 2**32
                continue
            at = getattr(self, "_acknowledged", 0)
            self.send_at(at, data[at : at + size])

    def read_answer(self, timeout_s: float = 5.0) -> Answer:
        """The HTTP answer, whose body has a Content-Length."""
        deadline = time.monotonic() + timeout_s
        while True:
            head, end, body = self.received.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            pairs = (line.split(":", 1) for line in lines if ":" in line)
            headers = {name.lower(): value.strip() for name, value in pairs}
            if end and len(body) >= int(headers["content-length"]):
                return Answer(int(first.split()[1]), headers, body)
            assert not self.reset, "reset instead of an answer"
            assert time.monotonic() < deadline, f"no answer: {self.received[:200]!r}"
            self.pump(0.5)


def packet_out(farm: Farm) -> socket.socket:
    """A socket of client1 that sends whole IP packets."""
    with farm.inside("client1"):
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def seed() -> int:
    """The seed of a random test: IPOS_SEED or a fixed one."""
    return int(os.environ.get("IPOS_SEED", "1"))
