# SPDX-License-Identifier: Apache-2.0
"""python mptcp.py PORT: an HTTP server that asks for MPTCP and takes TCP where it gets none.

Go's net.Listen does the same since 1.24. Each response names its server in `X-Served-By`.
"""

import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

IPPROTO_MPTCP: Final = 262


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.send_header("X-Served-By", os.environ["IPOS_SERVER"])
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the lab keeps what an application prints."""


class Server(ThreadingHTTPServer):
    def __init__(self, port: int) -> None:
        super().__init__(("0.0.0.0", port), Handler, bind_and_activate=False)
        try:
            asked = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
        except OSError:
            asked = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.close()
        self.socket = asked
        self.server_bind()
        self.server_activate()


if __name__ == "__main__":
    Server(int(sys.argv[1])).serve_forever()
