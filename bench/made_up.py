# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.made_up FARM SECRET_FILE ADDRESS COUNT`: servers of a farm that only speak.

Says the states of so many made-up servers at the moments when real ones say theirs, to real ones at
the address given, until it is stopped: as datagrams or as frames, as a real server would. Their
back addresses follow 10.77.0.4 on the interface `back`, which this gives to it.
"""

import socket
import struct
import subprocess
import sys
import time
from ipaddress import IPv4Address
from pathlib import Path

from ipos.abi.rows import Settings, SettingsFlags
from ipos.agent.heartbeat import message, probe
from ipos.agent.heartbeat.message import PORT, Listening, State
from ipos.agent.heartbeat.pace import Editions, Pace, pace
from ipos.handshake.keys import key_ring
from ipos.wire.ethernet import ETHERTYPE

REAL = 3
_BACK, _FRONT = IPv4Address("10.77.0.4"), IPv4Address("198.18.0.0")


def main() -> None:
    farm, secret_file, everybody, count = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    keys = key_ring(secret_file.read_bytes(), farm).main
    addresses = [_BACK + n for n in range(1, int(count) + 1)]
    subprocess.run(
        ["ip", "-batch", "-"], text=True, check=True,
        input="".join(f"addr add {one}/32 dev back\n" for one in addresses),
    )  # fmt: skip
    sockets = []
    for address in addresses:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"back")
        one.bind((str(address), 0))
        sockets.append(one)
    frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    frames.bind(("back", 0))
    key = struct.unpack("<QQ", keys.frame)
    boot, often = time.time_ns() // 1_000_000, pace(int(count) + REAL)
    editions = [Editions() for _ in addresses]
    sequence = 0
    while True:
        sequence += 1
        datagrams: list[tuple[socket.socket, bytes]] = []
        said: list[bytes] = []
        for n, (address, one) in enumerate(zip(addresses, sockets, strict=True), 1):
            mac = bytes((2, 1, 0, 0)) + n.to_bytes(2, "big")
            state = State(
                farm, f"m{n}", boot, sequence, time.time_ns() // 1_000_000, 1, int(address), mac,
                [int(_FRONT) + n], n, 10, 1 << 33, 10**9, ["web"],
                [Listening(0, 80, 4711, "nginx")], again_ms=often.again_ms,
            )  # fmt: skip
            state, whole = editions[n - 1].tell(state)
            settings = Settings(
                flags=SettingsFlags.AUTHENTICATE, back_mac=mac, ethertype=ETHERTYPE, frame_key=key
            )
            frame = None if whole else probe.numbers(settings, state)
            if frame is None:
                datagrams += [(one, each) for each in message.datagrams(state, keys.state)]
            else:
                said.append(frame)
        _wait(often)
        for one, datagram in datagrams:
            one.sendto(datagram, (everybody, PORT))
        for frame in said:
            frames.send(frame)


def _wait(often: Pace) -> None:
    """Until the next moment at which all servers speak."""
    while True:
        time.sleep(often.until_next(time.time()))
        if often.speaks(time.time()):
            return


if __name__ == "__main__":
    main()
