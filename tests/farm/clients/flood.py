# SPDX-License-Identifier: Apache-2.0
"""Sends TCP segments with random sources and numbers, as fast as one process can.

    python flood.py KIND ADDRESS PORT COUNT SEED

KIND: "syn"; "ack" (a handshake's third segment); "data" (the same with a request); "bare" (data
without a timestamp); "guess" (the same from one source). Other sources are random in 198.18.0.0/15,
which RFC 2544 keeps for such use.
"""

import random
import socket
import struct
import sys

_FLAGS = {"syn": 0x02, "ack": 0x10, "data": 0x18, "bare": 0x18, "guess": 0x18}
_REQUEST = b"GET / HTTP/1.1\r\nHost: farm.example\r\n\r\n"


def _sum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def _folded(total: int) -> int:
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def flood(kind: str, address: str, port: int, count: int, seed: int) -> None:
    """Send `count` segments; the same ones for the same seed."""
    numbers = random.Random(seed)
    to = socket.inet_aton(address)
    options = b"\x01\x01\x08\x0a"
    if kind == "syn":
        options = b"\x02\x04\x05\xb4\x04\x02\x08\x0a"
    timestamps = kind not in ("bare", "guess")
    payload = _REQUEST if kind in ("data", "bare", "guess") else b""
    options_length = len(options) + 8 if timestamps else 0
    if not timestamps:
        options = b""
    length = 40 + options_length + len(payload)
    ip_fixed = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0x4000, 64, 6, 0)
    offset_flags = struct.pack("!BB", (20 + options_length) // 4 << 4, _FLAGS[kind])
    tcp_fixed = offset_flags + struct.pack("!HHH", 65535, 0, 0) + options
    # Of what never changes, the sum is taken once.
    tcp_constant = _sum(to) + 6 + length - 20 + port + _sum(tcp_fixed) + _sum(payload)
    ip_constant = _sum(ip_fixed) + _sum(to)
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    destination = (address, 0)
    for _ in range(count):
        bits = 1 if kind == "guess" else numbers.getrandbits(17)
        source = struct.pack("!I", 0xC6120000 | bits)
        source_port = 1024 + numbers.randrange(64512)
        moving = numbers.randbytes(8 if kind != "syn" else 4)
        moving = moving.ljust(8, b"\0")
        stamps = numbers.randbytes(8) if timestamps else b""
        total = tcp_constant + _sum(source) + source_port + _sum(moving) + _sum(stamps)
        tcp = (
            struct.pack("!HH", source_port, port)
            + moving
            + tcp_fixed[:4]
            + struct.pack("!H", _folded(total))
            + tcp_fixed[6:]
            + stamps
        )
        ip = ip_fixed[:10] + struct.pack("!H", _folded(ip_constant + _sum(source))) + source + to
        raw.sendto(ip + tcp + payload, destination)


if __name__ == "__main__":
    flood(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
