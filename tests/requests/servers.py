# SPDX-License-Identifier: Apache-2.0
"""nginx and HAProxy, asked how they understand bytes: Debian's, on Unix sockets of their own."""

from __future__ import annotations

import re
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NEXT = b"GET /next HTTP/1.1\r\nHost: next.example\r\nConnection: close\r\n\r\n"
"""A request that follows another on its connection."""

_NGINX = """\
daemon off;
master_process off;
pid {at}/nginx.pid;
error_log {at}/nginx.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {at}/body;
    proxy_temp_path {at}/proxy;
    fastcgi_temp_path {at}/fastcgi;
    uwsgi_temp_path {at}/uwsgi;
    scgi_temp_path {at}/scgi;
    large_client_header_buffers 4 32k;
    client_max_body_size 0;
    server {{
        listen unix:{at}/nginx.sock;
        add_header X-Host $host always;
        add_header X-Path $uri always;
        location / {{ return 200; }}
    }}
}}
"""
_HAPROXY = """\
global
    maxconn 64
    tune.bufsize 32768
defaults
    mode http
    timeout client 5s
    timeout http-request 5s
frontend asked
    bind unix@{at}/haproxy.sock
    http-request wait-for-body time 1s
    http-request return status 200 hdr X-Host "%[req.fhdr(host)]" hdr X-Path "%[path]"
"""


@dataclass(frozen=True, slots=True)
class Understood:
    """A server's answers to one connection; host and path are the first request's, if it took it.

    `next`: the last answer is to the request that followed.
    """

    statuses: tuple[int, ...]
    host: bytes
    path: bytes
    next: bool


@dataclass(frozen=True, slots=True)
class Servers:
    directory: Path

    def ask(self, which: str, data: bytes, patience_s: float = 1.0) -> Understood:
        """What nginx or haproxy makes of these bytes and the request that follows them."""
        answer = b""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.directory / f"{which}.sock"))
            try:
                connection.sendall(data + NEXT)
                while select.select([connection], [], [], patience_s)[0]:
                    read = connection.recv(65_536)
                    if not read:
                        break
                    answer += read
            except ConnectionError:
                pass  # a refusal may reset what was not read
        return _understood(answer)


def _understood(answer: bytes) -> Understood:
    """Bodies are empty where a server took a request, so heads follow one another."""
    told = [head for head in answer.split(b"\r\n\r\n") if head.startswith(b"HTTP/1.")]
    statuses = tuple(int(head[9:12]) for head in told)
    taken = [head + b"\r\n" for head in told if head[9:12] == b"200"]
    if not taken:
        return Understood(statuses, b"", b"", False)
    (host, path), last = _named(taken[0]), _named(taken[-1])
    followed = len(taken) > 1 and last == (b"next.example", b"/next")
    return Understood(statuses, host, path, followed)


def _named(head: bytes) -> tuple[bytes, bytes]:
    """Host and path that a server wrote into an answer; a path may have a line feed in it."""
    host = re.search(rb"(?i)\nx-host: ?(.*)\r\n", head)
    path = re.search(rb"(?is)\nx-path: ?(.*?)\r\n", head)
    return (host[1] if host else b"", path[1] if path else b"")


@contextmanager
def running(directory: Path) -> Iterator[Servers]:
    """Both servers, accepting; ended afterwards."""
    (directory / "nginx.conf").write_text(_NGINX.format(at=directory))
    (directory / "haproxy.cfg").write_text(_HAPROXY.format(at=directory))
    commands = (
        ["nginx", "-p", str(directory), "-e", f"{directory}/nginx.log",
         "-c", f"{directory}/nginx.conf"],
        ["haproxy", "-db", "-f", f"{directory}/haproxy.cfg"],
    )  # fmt: skip
    started: list[subprocess.Popen[bytes]] = []
    with (directory / "out").open("wb") as out:
        try:
            for command in commands:
                started.append(subprocess.Popen(command, stdout=out, stderr=out))
            until = time.monotonic() + 20
            while not all((directory / f"{name}.sock").exists() for name in ("nginx", "haproxy")):
                assert all(process.poll() is None for process in started), _words(directory)
                assert time.monotonic() < until, _words(directory)
                time.sleep(0.02)
            yield Servers(directory)
        finally:
            for process in started:
                process.terminate()
                process.wait()


def _words(directory: Path) -> str:
    return (directory / "out").read_text()
