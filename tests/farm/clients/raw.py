# SPDX-License-Identifier: Apache-2.0
"""A server's application that answers with the bytes it is sent; nginx and Apache with files.

    python raw.py RAW_PORT NGINX_PORT ASKING_PORT APACHE_PORT

On RAW_PORT every request is answered by its body as it is, with no head of our own, or by what
`X-Answer` says in base64, `%%` replaced by the node's name. It is written in pieces of `X-Piece`
bytes, each by a write() of its own, and before the body is read where there is an `X-Early`. Then
`X-Close` ends the connection, and `X-Tunnel` sends back whatever comes, behind the node's name.

nginx and Apache serve the files of ipos.lab.pattern by sendfile, and pass `/through` on to
RAW_PORT.

What listens on ASKING_PORT reads no more than the kernel says is there (FIONREAD), as Java's
`available()` and .NET do, and answers with the number of bytes it got.
"""

import base64
import fcntl
import os
import select
import socket
import socketserver
import subprocess
import sys
import termios
import threading
from pathlib import Path

from ipos.lab import pattern

_NGINX = """\
user root;
worker_processes 1;
daemon off;
pid {own}/nginx.pid;
error_log {own}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {own}/body;
    proxy_temp_path {own}/proxy;
    fastcgi_temp_path {own}/fastcgi;
    uwsgi_temp_path {own}/uwsgi;
    scgi_temp_path {own}/scgi;
    sendfile on;
    tcp_nopush on;
    server {{
        listen {port};
        root {directory};
        large_client_header_buffers 4 16k;
        client_max_body_size 0;
        location /through {{
            proxy_pass http://127.0.0.1:{through};
            proxy_buffering off;
        }}
    }}
}}
"""

_APACHE = """\
ServerRoot {own}
ServerName apache
PidFile {own}/apache.pid
ErrorLog {own}/apache.log
Listen {port}
User nobody
Group nogroup
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
StartServers 1
ServerLimit 1
MinSpareThreads 1
MaxSpareThreads 8
ThreadsPerChild 8
MaxRequestWorkers 8
LimitRequestFieldSize 16384
EnableSendfile on
DocumentRoot {directory}
ProxyPass /through http://127.0.0.1:{through}/through flushpackets=on
"""
_MODULES = "/usr/lib/apache2/modules"  # where Debian's package has them


_NODE = os.environ["IPOS_NODE"].encode()


class Raw(socketserver.StreamRequestHandler):
    """One connection, request after request."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        while self.rfile.readline():
            fields = {}
            while line := self.rfile.readline().decode("latin-1").rstrip("\r\n"):
                name, _, value = line.partition(":")
                fields[name.lower()] = value.strip()
            given = base64.b64decode(fields.get("x-answer", "")).replace(b"%%", _NODE)
            piece = int(fields.get("x-piece", "0"))
            if "x-early" in fields:
                self._write(given, piece)
            body = self._body(fields)
            if "x-early" not in fields:
                self._write(given or body, piece)
            if "x-tunnel" in fields:
                self._tunnel()
            if "x-close" in fields:
                return

    def _body(self, fields: dict[str, str]) -> bytes:
        if "transfer-encoding" not in fields:
            return self.rfile.read(int(fields.get("content-length", "0")))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _write(self, data: bytes, piece: int) -> None:
        for at in range(0, len(data), piece or len(data) or 1):
            self.connection.sendall(data[at : at + (piece or len(data))])

    def _tunnel(self) -> None:
        self.connection.sendall(_NODE)
        while data := self.rfile.read1():
            self.connection.sendall(data)


class Asking(socketserver.BaseRequestHandler):
    """One request; its body is as long as its Content-Length says."""

    request: socket.socket

    def handle(self) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._what_is_there()
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        got = len(body)
        while got < length:
            got += len(self._what_is_there())
        said = b"%d of %d" % (len(head) + 4, got)
        self.request.sendall(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
            % (len(said), said)
        )

    def _what_is_there(self) -> bytes:
        """Waits for an edge, as nginx does: of data that came before it is told once."""
        with select.epoll() as events:
            events.register(self.request, select.EPOLLIN)
            events.poll()
        there = bytearray(4)
        fcntl.ioctl(self.request, termios.FIONREAD, there)
        data = self.request.recv(int.from_bytes(there, sys.byteorder))
        if not data:
            raise ConnectionError("readable, and the kernel says that nothing is there")
        return data


class Server(socketserver.ThreadingTCPServer):
    """Accepts many connections at once."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def main(raw_port: int, nginx_port: int, asking_port: int, apache_port: int) -> None:
    own = Path(os.environ["IPOS_RUN_DIR"], "nginx")
    own.mkdir()
    file = own / "nginx.conf"
    directory = pattern.make_files()
    text = _NGINX.format(own=own, port=nginx_port, through=raw_port, directory=directory)
    file.write_text(text)
    subprocess.Popen(["nginx", "-p", str(own), "-e", str(own / "error.log"), "-c", str(file)])
    file = own / "apache.conf"
    ports = {"port": apache_port, "through": raw_port}
    file.write_text(_APACHE.format(own=own, directory=directory, modules=_MODULES, **ports))
    subprocess.Popen(["apache2", "-DFOREGROUND", "-f", str(file)])
    asking = Server(("0.0.0.0", asking_port), Asking)
    threading.Thread(target=asking.serve_forever, daemon=True).start()
    with Server(("0.0.0.0", raw_port), Raw) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
