# SPDX-License-Identifier: Apache-2.0
"""Servers and libraries that read HTTP/1, asked what they take bytes for: real ones, all of them.

nginx, HAProxy, Apache and Node run for it; h11 and Python's http.server are in this process. Each
says the requests it took, in order.
"""

from __future__ import annotations

import http.server
import io
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import h11

from tests.requests import servers

NEXT = b"GET /next HTTP/1.1\r\nHost: next.example\r\nConnection: close\r\n\r\n"


class Taken(NamedTuple):
    """A request that was answered: Host and the path as the server has it, without its query.

    Both are empty where it was not served. `decoded`: the server has normalised the path itself.
    """

    host: bytes
    path: bytes
    decoded: bool = False


Ask = Callable[[bytes], list[Taken]]

_NODE = """
const http = require('http');
const spell = encodeURIComponent;
function told(req) {
  return {'X-Host': spell(req.headers.host || ''), 'X-Path': spell(req.url)};
}
const server = http.createServer((req, res) => {
  req.resume();
  req.on('end', () => { res.writeHead(200, told(req)); res.end(); });
});
server.on('connect', (req, socket) => socket.end('HTTP/1.1 405 No\\r\\n\\r\\n'));
server.listen(process.argv[2]);
"""


# Apache listens on no Unix socket. Its modules have their places in Debian's package.
_APACHE = """
ServerRoot {at}
ServerName apache
PidFile {at}/apache.pid
ErrorLog {at}/apache.log
Listen 127.0.0.1:{port}
User nobody
Group nogroup
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule headers_module {modules}/mod_headers.so
LoadModule rewrite_module {modules}/mod_rewrite.so
StartServers 1
ServerLimit 1
MinSpareThreads 1
MaxSpareThreads 4
ThreadsPerChild 4
MaxRequestWorkers 4
LimitRequestLine 32768
LimitRequestFieldSize 32768
RewriteEngine on
RewriteRule ^ - [R=200]
ErrorDocument 200 " "
Header always set X-Host "expr=%{{escape:%{{req:Host}}}}"
Header always set X-Path "expr=%{{escape:%{{REQUEST_URI}}}}"
"""
_APACHE_MODULES = "/usr/lib/apache2/modules"


@contextmanager
def running(directory: Path) -> Iterator[dict[str, Ask]]:
    """By name, whom to ask; ended afterwards."""
    with ExitStack() as stack:
        stack.enter_context(servers.running(directory))
        apache = stack.enter_context(_apache(directory))
        node = stack.enter_context(_node(directory))
        yield {
            "nginx": lambda data: _over(directory / "nginx.sock", data, decoded=True),
            "haproxy": lambda data: _over(directory / "haproxy.sock", data),
            "apache": lambda data: _over(apache, data, spelled=True, decoded=True),
            "node": lambda data: _over(node, data, spelled=True),
            "h11": by_h11,
            "http.server": by_http_server,
        }


Where = Path | int
"""A Unix socket's file, or a port of loopback."""


@contextmanager
def _node(directory: Path) -> Iterator[Where]:
    script, where = directory / "node.js", directory / "node.sock"
    script.write_text(_NODE)
    with _started(directory, ["node", str(script), str(where)], where):
        yield where


@contextmanager
def _apache(directory: Path) -> Iterator[Where]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    file = directory / "apache.conf"
    file.write_text(_APACHE.format(at=directory, port=port, modules=_APACHE_MODULES))
    with _started(directory, ["apache2", "-DFOREGROUND", "-f", str(file)], port):
        yield port


@contextmanager
def _started(directory: Path, command: list[str], where: Where) -> Iterator[None]:
    """A server of its own, which accepts; it is ended afterwards."""
    words = directory / f"{command[0]}.out"
    with words.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            until = time.monotonic() + 20
            while True:
                assert process.poll() is None, words.read_text()
                assert time.monotonic() < until, f"{command[0]} does not listen"
                try:
                    _connection(where).close()
                    break
                except OSError:
                    time.sleep(0.02)
            yield
        finally:
            process.terminate()


def _connection(where: Where) -> socket.socket:
    if isinstance(where, int):
        return socket.create_connection(("127.0.0.1", where), timeout=2)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(2)
        connection.connect(str(where))
    except OSError:
        connection.close()
        raise
    return connection


def _over(
    where: Where, data: bytes, *, spelled: bool = False, decoded: bool = False
) -> list[Taken]:
    """What a server answers to all of it, and then the end of the stream.

    `spelled`: it writes with percent signs what a header has no place for. A refusal counts if it
    goes on behind it: the last ones say that it has read enough.
    """
    answer = b""
    with _connection(where) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while read := connection.recv(65_536):
                answer += read
        except (ConnectionError, TimeoutError):
            pass  # a refusal may reset what was not read
    found = []
    for head in re.findall(rb"(?s)HTTP/1\.1 [2-5]\d\d .*?\r\n\r\n", answer):
        if head[9:12] != b"200":
            found.append(Taken(b"", b""))
            continue
        host = re.search(rb"(?i)\nx-host: ?(.*)\r\n", head)
        path = re.search(rb"(?is)\nx-path: ?(.*?)\r\n", head)
        told = (host[1] if host else b"", path[1] if path else b"")
        name, target = map(unquote_to_bytes, told) if spelled else told
        found.append(Taken(name, target, True) if decoded else _taken(name, target))
    while found and not any(found[-1][:2]):
        found.pop()
    return found


def _taken(host: bytes, target: bytes) -> Taken:
    """The path of a target as its server has it, which may be a whole URL."""
    whole = re.match(rb"(?i)[a-z]+://[^/?#]*([^?#]*)", target)
    return Taken(host, (whole[1] or b"/") if whole else re.split(rb"[?#]", target)[0])


def by_h11(data: bytes) -> list[Taken]:
    """As a server that is written with h11 takes it, uvicorn for one."""
    server, found = h11.Connection(h11.SERVER), []
    try:
        server.receive_data(data)
        server.receive_data(b"")
        while True:
            event = server.next_event()
            if isinstance(event, h11.Request):
                host = dict(event.headers).get(b"host", b"")
                pending = _taken(host, event.target)
            elif isinstance(event, h11.EndOfMessage):
                found.append(pending)
                server.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                server.send(h11.EndOfMessage())
                if server.our_state is not h11.DONE or server.their_state is not h11.DONE:
                    return found
                server.start_next_cycle()
            elif not isinstance(event, h11.Data):
                return found
    except h11.ProtocolError:
        return found


class _Handler(http.server.BaseHTTPRequestHandler):
    """Every method is served; a body is as long as Content-Length says."""

    protocol_version = "HTTP/1.1"

    def __init__(self, data: bytes) -> None:
        self.found: list[Taken] = []
        self.rfile, self.wfile = io.BytesIO(data), io.BytesIO()
        self.client_address, self.close_connection = ("", 0), False
        self.requestline, self.request_version, self.command = "", "", ""
        while not self.close_connection and self.rfile.tell() < len(data):
            self.handle_one_request()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("do_"):
            raise AttributeError(name)
        return self._serve

    def _serve(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        host = self.headers.get("Host", "").strip(" \t").encode("latin-1")
        self.found.append(_taken(host, self.path.encode("latin-1")))

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def by_http_server(data: bytes) -> list[Taken]:
    """As Python's own server takes it, which knows no chunks: those requests are left out."""
    if b"chunked" in data.lower():
        return []
    try:
        return _Handler(data).found
    except ValueError:  # a Content-Length that is no number
        return []
