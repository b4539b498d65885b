# SPDX-License-Identifier: Apache-2.0
"""Clients that never finish their request heads: raw TCP, one source port each.

    python slow_heads.py SOURCE ADDRESS PORT FIRST COUNT

Each shakes hands and sends the beginning of a head. Prints "held" when all have, then counts what
is answered to them until its input ends, and prints that: responses, resets. The node's own kernel
must not see the answers.
"""

import select
import socket
import struct
import sys

_BEGIN = b"GET / HTTP/1.1\r\nX: "
_SYN, _ACK, _PUSH, _RST = 2, 16, 8, 4
_MSS = b"\x02\x04\x05\xb4"
_AT_ONCE = 256
_SO_RCVBUFFORCE = 33


def _checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


class Clients:
    """All of them; a port that has begun its head is not in `waiting` any more."""

    def __init__(self, source: str, address: str, port: int, first: int, count: int) -> None:
        self.ends = socket.inet_aton(source) + socket.inet_aton(address)
        self.address, self.port = address, port
        self.ports = range(first, first + count)
        self.waiting: set[int] = set()
        self.begun = self.responses = self.resets = 0
        self.out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        self.heard.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 26)
        self.heard.setblocking(False)

    def send(self, port: int, seq: int, ack: int, flags: int, rest: bytes, options: int) -> None:
        """`rest`: options bytes of options, then data."""
        words = (20 + options) // 4 << 4
        head = struct.pack("!HHIIBBHHH", port, self.port, seq, ack, words, flags, 65535, 0, 0)
        pseudo = self.ends + struct.pack("!HH", 6, len(head) + len(rest))
        sum_ = struct.pack("!H", _checksum(pseudo + head + rest))
        tcp = head[:16] + sum_ + head[18:] + rest
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + self.ends
        self.out.sendto(ip + tcp, (self.address, 0))

    def syn(self, port: int) -> None:
        self.waiting.add(port)
        self.send(port, port, 0, _SYN, _MSS, 4)

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
        if flags & (_SYN | _ACK) == _SYN | _ACK and port in self.waiting:
            self.waiting.discard(port)
            self.begun += 1
            self.send(port, port + 1, seq + 1 & 0xFFFFFFFF, _ACK | _PUSH, _BEGIN, 0)
        elif flags & _RST:
            self.resets += 1
        elif b"HTTP/1.1 408 " in frame:
            self.responses += 1

    def begin(self) -> None:
        ports = iter(self.ports)
        while self.begun < len(self.ports):
            for port in ports:
                self.syn(port)
                if len(self.waiting) >= _AT_ONCE:
                    break
            before = self.begun
            self.hear(0.5)
            if self.begun == before:  # lost on the way: again
                for port in list(self.waiting):
                    self.syn(port)


def main() -> None:
    source, address = sys.argv[1:3]
    clients = Clients(source, address, *map(int, sys.argv[3:]))
    clients.begin()
    print("held", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        clients.hear(0.05)
    print(clients.responses, clients.resets, flush=True)


if __name__ == "__main__":
    main()
