# SPDX-License-Identifier: Apache-2.0
"""The lab's built-in application: HTTP/1.1, and a service whose server speaks first.

    GET  /          the server's name
    GET  /bytes/N   N bytes of the pattern (ipos.lab.pattern)
    POST /echo      {"length": N, "sha256": "..."} of the body
    GET  /slow/S    the server's name, after S seconds
    GET  /halves/S  the server's name, chunked, its second half S seconds after the first
    GET  /login     the server's name, and a session of this server's in the cookie SESSION
    GET  /logout    the server's name, and that cookie's deletion

Every answer carries `X-Served-By`, the server's name, and `X-Client`, the client's address as
accept() gave it. On the ports named by --speak-first it greets with `220 <name> <client address>`
as soon as it has accepted, and echoes line by line.

It runs in every server: `python -m ipos.lab.application --name s2 --listen 0.0.0.0:80`. With
--ready-fd it writes one byte to that descriptor once every address is bound, and closes it.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from ipos.lab.pattern import chunks

MAX_HEAD = 64 * 1024
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}
_BACKLOG = 4096


class BadRequest(Exception):
    """A request this server does not understand; the text goes to the client."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request head. headers: names in lower case; the last of equal ones wins."""

    method: str
    path: str
    version: str
    headers: Mapping[str, str]

    @property
    def keep_alive(self) -> bool:
        """RFC 9112, section 9.3."""
        connection = self.headers.get("connection", "").lower()
        return "close" not in connection and (
            self.version == "HTTP/1.1" or "keep-alive" in connection
        )


def parse_head(data: bytes) -> Head:
    """A head from its bytes, the empty line included. BadRequest if it is none."""
    try:
        first, *lines = data.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, path, version = first.split(" ")
        pairs = (line.split(":", 1) for line in lines)
        headers = {name.lower(): value.strip() for name, value in pairs}
    except ValueError as error:
        raise BadRequest("malformed request head") from error
    if not version.startswith("HTTP/1."):
        raise BadRequest(f"version {version} is not HTTP/1")
    return Head(method, path.partition("?")[0], version, headers)


async def body_of(reader: asyncio.StreamReader, head: Head) -> AsyncIterator[bytes]:
    """The request's body in pieces, by Content-Length or chunked (RFC 9112, section 6)."""
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        while size := int((await reader.readline()).split(b";")[0], 16):
            yield await reader.readexactly(size)
            await reader.readline()
        while (await reader.readline()).strip():
            pass  # trailers
        return
    left = int(head.headers.get("content-length", "0"))
    while left > 0:
        piece = await reader.read(min(left, 256 * 1024))
        if not piece:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(piece)
        yield piece


class Application:
    """The service of one server. name: what it calls itself."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def serve_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until it ends."""
        # The client went away, or is going to: nothing to tell anybody.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._serve_one(reader, writer):
                pass
        await _close(writer)

    async def speak_first(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Greet, then send every line back, until the client has ended its side."""
        with contextlib.suppress(ConnectionError, ValueError):
            writer.write(f"220 {self._name} {_client_of(writer)}\r\n".encode())
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        await _close(writer)

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether another may follow on the connection."""
        try:
            head = parse_head(await reader.readuntil(b"\r\n\r\n"))
            if head.headers.get("expect", "").lower() == "100-continue":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            digest, length = hashlib.sha256(), 0
            async for piece in body_of(reader, head):
                digest.update(piece)
                length += len(piece)
            hexdigest = digest.hexdigest()
        except (BadRequest, ValueError, asyncio.LimitOverrunError) as error:
            self._start(writer, 400, len(str(error)) + 1, keep_alive=False)
            writer.write(f"{error}\n".encode())
            return False
        await self._answer(writer, head, length, hexdigest)
        await writer.drain()
        return head.keep_alive

    async def _answer(
        self, writer: asyncio.StreamWriter, head: Head, length: int, digest: str
    ) -> None:
        match head.path.split("/")[1:]:
            case [""]:
                self._text(writer, head, 200, self._name)
            case ["bytes", number] if number.isascii() and number.isdigit():
                self._start(writer, 200, int(number), head.keep_alive)
                if head.method != "HEAD":
                    for piece in chunks(int(number)):
                        writer.write(piece)
                        await writer.drain()
            case ["echo"] if head.method == "POST":
                self._text(writer, head, 200, json.dumps({"length": length, "sha256": digest}))
            case ["echo"]:
                self._text(writer, head, 405, "POST to /echo")
            case ["slow", seconds] if _is_duration(seconds):
                await asyncio.sleep(float(seconds))
                self._text(writer, head, 200, self._name)
            case ["halves", seconds] if _is_duration(seconds):
                await self._halves(writer, float(seconds))
            case ["login"]:
                cookie = f"SESSION={secrets.token_hex(16)}; Path=/; HttpOnly"
                self._text(writer, head, 200, self._name, f"Set-Cookie: {cookie}")
            case ["logout"]:
                cookie = "SESSION=deleted; Path=/; Max-Age=0"
                self._text(writer, head, 200, self._name, f"Set-Cookie: {cookie}")
            case _:
                self._text(writer, head, 404, f"no {head.path} here")

    def _text(
        self, writer: asyncio.StreamWriter, head: Head, status: int, text: str, *fields: str
    ) -> None:
        body = f"{text}\n".encode()
        self._start(writer, status, len(body), head.keep_alive, *fields)
        if head.method != "HEAD":
            writer.write(body)

    async def _halves(self, writer: asyncio.StreamWriter, pause_s: float) -> None:
        text = f"{self._name}\n".encode()
        head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
        writer.write(f"{head}X-Served-By: {self._name}\r\n\r\n1\r\n".encode() + text[:1])
        await writer.drain()
        await asyncio.sleep(pause_s)
        writer.write(b"\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(text) - 1, text[1:]))

    def _start(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        length: int,
        keep_alive: bool,
        *fields: str,
    ) -> None:
        more = "".join(f"{field}\r\n" for field in fields)
        writer.write(
            f"HTTP/1.1 {status} {_REASONS[status]}\r\n"
            f"Content-Length: {length}\r\n"
            f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n"
            f"X-Served-By: {self._name}\r\n"
            f"{more}"
            f"X-Client: {_client_of(writer)}\r\n\r\n".encode()
        )


def _is_duration(text: str) -> bool:
    return text.isascii() and text.replace(".", "", 1).isdigit()


def _client_of(writer: asyncio.StreamWriter) -> str:
    peer = writer.get_extra_info("peername")
    return peer[0] if isinstance(peer, tuple) else "unix"


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def listen(
    application: Application, addresses: list[str], speak_first: list[str], unix: str | None
) -> list[asyncio.Server]:
    """Bind everything. addresses, speak_first: "address:port". OSError if one is taken."""
    servers = []
    for handler, texts in (
        (application.serve_http, addresses),
        (application.speak_first, speak_first),
    ):
        for text in texts:
            host, _, port = text.rpartition(":")
            servers.append(
                await asyncio.start_server(
                    handler, host.strip("[]"), int(port), limit=MAX_HEAD, backlog=_BACKLOG
                )
            )
    if unix:
        servers.append(
            await asyncio.start_unix_server(
                application.serve_http, unix, limit=MAX_HEAD, backlog=_BACKLOG
            )
        )
        os.chmod(unix, 0o666)  # nginx's workers are not root
    return servers


async def _main(options: argparse.Namespace) -> None:
    application = Application(options.name)
    servers = await listen(application, options.listen, options.speak_first, options.unix)
    if options.ready_fd is not None:
        os.write(options.ready_fd, b"\n")
        os.close(options.ready_fd)
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main() -> None:
    """Run until a signal ends it."""
    parser = argparse.ArgumentParser(prog="ipos.lab.application", description=__doc__)
    parser.add_argument("--name", required=True, help="what the server calls itself")
    parser.add_argument("--listen", action="append", default=[], metavar="ADDRESS:PORT")
    parser.add_argument("--speak-first", action="append", default=[], metavar="ADDRESS:PORT")
    parser.add_argument("--unix", metavar="PATH", help="serve HTTP on a Unix socket as well")
    parser.add_argument("--ready-fd", type=int, metavar="N", help="tell here that all is bound")
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
