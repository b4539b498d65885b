# SPDX-License-Identifier: Apache-2.0
"""Clients of HTTP/3, made with aioquic, without an event loop: each step is the test's.

`h3_client.py ADDRESS PORT COUNT NAME...` makes so many connections to these server names in turn,
and prints, as JSON, a list of [server name, datagrams of the first flight, who answered].
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time
from collections.abc import Sequence

from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated


class Failed(Exception):
    """The connection has ended, or nothing came."""


class Client:
    """One connection. long: its ClientHello takes two datagrams, as with post-quantum keys.

    offers: protocols that come before HTTP/3 in its list.
    """

    def __init__(
        self,
        address: str,
        port: int,
        name: str,
        *,
        long: bool = False,
        source: str = "",
        port_from: int = 0,
        offers: Sequence[str] = (),
    ) -> None:
        filler = [f"{number:0>200}" for number in range(9)] if long else []
        self._quic = QuicConnection(
            configuration=QuicConfiguration(
                alpn_protocols=[*offers, *H3_ALPN, *filler],
                server_name=name,
                verify_mode=ssl.CERT_NONE,
                idle_timeout=20,
            )
        )
        self._peer = (address, port)
        self._http: H3Connection | None = None
        self.sent = self.received = 0
        self.first_flight = 0
        self.body = bytearray()
        self._over = False
        self.open(source, port_from)

    def move(self, source: str) -> None:
        """Go on by another socket, and so another address: a client that moves says so at once."""
        self.socket.close()
        self.open(source)
        self._quic.send_ping(1)
        self._flush()

    def open(self, source: str, port: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((source, port))
        self.port = self.socket.getsockname()[1]

    def get(self, path: str, until: int | None = None) -> bytes:
        """The response's body, or what has come when it has so many bytes."""
        if self._http is None:
            self._quic.connect(self._peer, now=time.monotonic())
            self._flush()
            self.first_flight = self.sent
            self._drive(lambda: self._http is not None)
            assert self._http is not None
            stream = self._quic.get_next_available_stream_id()
            headers = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"x"),
                       (b":path", path.encode())]  # fmt: skip
            self._http.send_headers(stream, headers, end_stream=True)
            self._flush()
        self._drive(lambda: self._over or (until is not None and len(self.body) >= until))
        return bytes(self.body)

    def close(self) -> None:
        self._quic.close()
        self._flush()
        self.socket.close()

    def _flush(self) -> None:
        for data, _ in self._quic.datagrams_to_send(now=time.monotonic()):
            self.socket.sendto(data, self._peer)
            self.sent += 1

    def _drive(self, done: object) -> None:
        assert callable(done)
        end = time.monotonic() + 30
        while not done():
            if time.monotonic() > end:
                raise Failed(f"nothing for 30 s, after {len(self.body)} bytes")
            timer = self._quic.get_timer()
            now = time.monotonic()
            self.socket.settimeout(min(max(0.001, (timer or now + 1) - now), 1))
            try:
                data = self.socket.recv(65535)
            except TimeoutError:
                if timer is not None and time.monotonic() >= timer:
                    self._quic.handle_timer(now=time.monotonic())
            else:
                self.received += 1
                self._quic.receive_datagram(data, self._peer, now=time.monotonic())
            self._events()
            self._flush()

    def _events(self) -> None:
        while (event := self._quic.next_event()) is not None:
            if isinstance(event, ConnectionTerminated):
                raise Failed(f"{event.error_code} {event.reason_phrase}")
            if isinstance(event, ProtocolNegotiated):
                self._http = H3Connection(self._quic)
            for one in self._http.handle_event(event) if self._http else ():
                if isinstance(one, DataReceived):
                    self.body += one.data
                    self._over |= one.stream_ended


def main(address: str, port: int, count: int, names: list[str]) -> None:
    found = []
    for number in range(count):
        name = names[number % len(names)]
        client = Client(address, port, name, long=number % 2 == 1)
        found.append([name, 0, client.get("/").decode()])
        found[-1][1] = client.first_flight
        client.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
