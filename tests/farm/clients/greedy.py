# SPDX-License-Identifier: Apache-2.0
"""Clients that want more than their share: raw TCP, one source port each.

    python greedy.py KIND SOURCE ADDRESS PORT COUNT SECONDS

KIND "fin": each connection sends a GET, acknowledges the answer, sends a FIN with a wrong number,
and a whole head of 14 KB that another server must answer. "deaf": the same without a FIN and
without the acknowledgement, so that the head must wait. Prints "held" when all have.

KIND "damaged": each shakes hands, and once all cookies are there, 5,000 segments a second go out,
each with a GET, a valid cookie and a wrong TCP checksum, for so many seconds. Prints "held" before
the first of them.

It ends when its input does, and prints how many segments with a wrong checksum it has sent. SOURCE
must not be an address of the node: its kernel would reset what it does not know.
"""

import select
import socket
import struct
import sys
import time

_SYN, _FIN, _PUSH, _ACK = 2, 1, 8, 16
_MSS = b"\x02\x04\x05\xb4"
_SEGMENT = 1400
_AT_ONCE = 128
_RATE = 5_000
_FIRST_PORT = 1024
_SO_RCVBUFFORCE = 33
_GET = b"GET / HTTP/1.1\r\nHost: s1.example\r\n\r\n"
_LONG = b"GET / HTTP/1.1\r\nHost: s2.example\r\nX: "
_LONG += b"y" * (14 * 1024 - len(_LONG) - 4) + b"\r\n\r\n"


def _checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


class Greedy:
    """All of the connections. `begun`: ports whose SYN has gone out and that are not done yet."""

    def __init__(self, kind: str, source: str, address: str, port: int, count: int) -> None:
        self.kind, self.address, self.port = kind, address, port
        self.ends = socket.inet_aton(source) + socket.inet_aton(address)
        self.left = iter(range(_FIRST_PORT, _FIRST_PORT + count))
        self.count, self.done = count, 0
        self.begun: set[int] = set()
        self.damaged: list[bytes] = []
        self.out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        self.heard.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 26)
        self.heard.setblocking(False)

    def packet(self, port: int, seq: int, ack: int, flags: int, rest: bytes, damage: int) -> bytes:
        words = 6 if flags == _SYN else 5
        head = struct.pack(
            "!HHIIBBHHH", port, self.port, seq, ack & 0xFFFFFFFF, words << 4, flags, 65535, 0, 0
        )
        pseudo = self.ends + struct.pack("!HH", 6, len(head) + len(rest))
        sum_ = struct.pack("!H", _checksum(pseudo + head + rest) ^ damage)
        tcp = head[:16] + sum_ + head[18:] + rest
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + self.ends
        return ip + tcp

    def send(self, port: int, seq: int, ack: int, flags: int, rest: bytes = b"") -> None:
        self.out.sendto(self.packet(port, seq, ack, flags, rest, 0), (self.address, 0))

    def begin(self) -> None:
        """Until every connection has said what it has to say."""
        while self.done < self.count:
            for port in self.left:
                self.begun.add(port)
                self.send(port, port, 0, _SYN, _MSS)
                if len(self.begun) >= _AT_ONCE:
                    break
            before = self.done
            self.hear(0.5)
            if self.done == before:  # lost on the way: again
                for port in list(self.begun):
                    self.send(port, port, 0, _SYN, _MSS)

    def hear(self, timeout_s: float) -> None:
        """All frames that are there; at most that long for the first."""
        select.select([self.heard], [], [], timeout_s)
        while True:
            try:
                frame, address = self.heard.recvfrom(2048)
            except BlockingIOError:
                return
            if address[2] != socket.PACKET_OUTGOING and frame[23] == 6:
                self._segment(frame)

    def _segment(self, frame: bytes) -> None:
        port, seq = struct.unpack_from("!HI", frame, 36)
        flags = frame[47]
        if port not in self.begun:
            return
        if flags & _SYN:
            if self.kind == "damaged":
                self.damaged.append(self.packet(port, port + 1, seq + 1, _ACK | _PUSH, _GET, 1))
                self._over(port)
            else:
                self.send(port, port + 1, seq + 1, _ACK | _PUSH, _GET)
            return
        length = struct.unpack_from("!H", frame, 16)[0] - 20 - (frame[46] >> 4) * 4
        if length:
            self._answered(port, seq, length)

    def _answered(self, port: int, seq: int, length: int) -> None:
        at = port + 1 + len(_GET)
        ack = seq if self.kind == "deaf" else seq + length
        if self.kind == "fin":
            self.send(port, at + 40_000, ack, _FIN | _ACK)
        for start in range(0, len(_LONG), _SEGMENT):
            self.send(port, at + start, ack, _ACK | _PUSH, _LONG[start : start + _SEGMENT])
        self._over(port)

    def _over(self, port: int) -> None:
        self.begun.discard(port)
        self.done += 1

    def send_damaged(self, seconds: float) -> int:
        """How many have gone out."""
        began = time.monotonic()
        sent = 0
        while (passed := time.monotonic() - began) < seconds:
            while sent < passed * _RATE:
                self.out.sendto(self.damaged[sent % len(self.damaged)], (self.address, 0))
                sent += 1
            time.sleep(0.002)
        return sent


def main() -> None:
    kind, source, address = sys.argv[1:4]
    greedy = Greedy(kind, source, address, *map(int, sys.argv[4:6]))
    greedy.begin()
    print("held", flush=True)
    if kind == "damaged":
        print(greedy.send_damaged(float(sys.argv[6])), flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        greedy.hear(0.05)


if __name__ == "__main__":
    main()
