# SPDX-License-Identifier: Apache-2.0
"""A server's application that answers with the bytes it is sent, and nginx with files.

    python raw.py RAW_PORT NGINX_PORT

On RAW_PORT every request is answered by its body as it is, with no head of our own, or by what
`X-Answer` says in base64, `%%` replaced by the node's name. It is written in pieces of `X-Piece`
bytes, each by a write() of its own, and before the body is read where there is an `X-Early`. Then
`X-Close` ends the connection, and `X-Tunnel` sends back whatever comes, behind the node's name.

nginx serves the files of ipos.lab.pattern by sendfile and nothing else.
"""

import base64
import os
import socketserver
import subprocess
import sys
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
    }}
}}
"""


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


class Server(socketserver.ThreadingTCPServer):
    """Accepts many connections at once."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def main(raw_port: int, nginx_port: int) -> None:
    own = Path(os.environ["IPOS_RUN_DIR"], "nginx")
    own.mkdir()
    file = own / "nginx.conf"
    file.write_text(_NGINX.format(own=own, port=nginx_port, directory=pattern.make_files()))
    subprocess.Popen(["nginx", "-p", str(own), "-e", str(own / "error.log"), "-c", str(file)])
    with Server(("0.0.0.0", raw_port), Raw) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
