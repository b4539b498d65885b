# SPDX-License-Identifier: Apache-2.0
"""Frames on a LAN of the farm, seen in the switch, and packets of the tests' own making."""

import hashlib
import hmac
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ipos.handshake.siphash import siphash64, siphash128
from ipos.lab import namespaces
from ipos.lab.plan import SWITCH
from ipos.wire.tags import packet_tag
from tests.support.farm import Farm, wait_until

ETHERTYPE = b"\x00\x07"
_ALL = 3  # ETH_P_ALL


def packet_socket(farm: Farm, node: str, interface: str) -> socket.socket:
    """Every frame of an interface, in both directions. node may be the switch."""
    with namespaces.entered(namespaces.path_of(farm.lab.name, node)):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
        made.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        made.bind((interface, 0))
    return made


class Capture:
    """Frames that came by while the capture ran."""

    def __init__(self, source: socket.socket) -> None:
        self.frames: list[bytes] = []
        self._source = source
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        self._source.settimeout(0.05)
        while True:
            try:
                self.frames.append(self._source.recv(65536))
            except TimeoutError:
                if self._stop.is_set():
                    return

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._source.close()

    def ipos(self) -> list[bytes]:
        """ipOS frames, in the order they came."""
        return [frame for frame in self.frames if frame[12:14] == ETHERTYPE]

    def wait_for(self, count: int) -> None:
        """Until so many ipOS frames have been seen."""
        wait_until(f"{count} ipOS frames", lambda: len(self.ipos()) >= count)


@contextmanager
def capturing(farm: Farm, server: str, interface: str) -> Iterator[Capture]:
    """What the switch's port of a server sees."""
    port = farm.lab.nodes[server].port(farm.lab.nodes[server].interface(interface))
    capture = Capture(packet_socket(farm, SWITCH, port))
    capture.start()
    try:
        yield capture
    finally:
        capture.stop()


class Tagger:
    """The farm's tags, from its secret."""

    def __init__(self, farm: Farm) -> None:
        secret = (farm.lab.run_dir / "farm.key").read_bytes().strip()
        salt = b"ipos farm " + farm.lab.name.encode()
        master = hashlib.scrypt(secret, salt=salt, n=1 << 14, r=8, p=1, dklen=32)
        self._key = hmac.digest(master, b"ipos frame 2", hashlib.sha256)[:16]

    def packet(self, headers: bytes, payload: bytes = b"") -> bytes:
        """Of a type 2: our header and the inner ones, and what is covered of the payload."""
        return packet_tag(self._key, headers, payload)

    def short(self, data: bytes) -> bytes:
        return siphash64(self._key, data).to_bytes(8, "little")

    def wide(self, data: bytes) -> bytes:
        return siphash128(self._key, data).to_bytes(16, "little")
