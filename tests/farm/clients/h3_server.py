# SPDX-License-Identifier: Apache-2.0
"""An HTTP/3 server whose connection IDs have the server's number, made with aioquic.

`h3_server.py PORT NAME NUMBER AT CERTIFICATE KEY`: NUMBER is in hexadecimal, AT the bytes before
it. `GET /` is answered by NAME, `GET /N` by NAME and N bytes behind it that `body` makes.
"""

import asyncio
import os
import sys
from types import SimpleNamespace
from typing import Any

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic import connection
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, QuicEvent

ID_LENGTH = 9


def body(size: int) -> bytes:
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


class Protocol(QuicConnectionProtocol):
    name = b""
    http: H3Connection | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self._quic)
        http = self.http
        if http is None:
            return
        for one in http.handle_event(event):
            if isinstance(one, HeadersReceived):
                path = dict(one.headers)[b":path"].decode()
                http.send_headers(one.stream_id, [(b":status", b"200"), (b"by", self.name)])
                size = int(path[1:] or 0)
                http.send_data(one.stream_id, self.name + body(size), end_stream=True)
                self.transmit()


def numbered(number: bytes, at: int) -> Any:
    """As the module os, but connection IDs have the number in their place."""

    def urandom(size: int) -> bytes:
        made = os.urandom(size)
        return made[:at] + number + made[at + len(number) :] if size == ID_LENGTH else made

    return SimpleNamespace(urandom=urandom)


async def main(port: str, name: str, number: str, at: str, certificate: str, key: str) -> None:
    connection.os = numbered(bytes.fromhex(number), int(at))
    Protocol.name = name.encode()
    configuration = QuicConfiguration(
        is_client=False, alpn_protocols=H3_ALPN, connection_id_length=ID_LENGTH
    )
    configuration.load_cert_chain(certificate, key)
    await serve("0.0.0.0", int(port), configuration=configuration, create_protocol=Protocol)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
