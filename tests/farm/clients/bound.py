# SPDX-License-Identifier: Apache-2.0
"""An application that listens on its server's own service address alone, and says its node's name.

python bound.py PORT
"""

import os
import socketserver
import sys

_NODE = os.environ["IPOS_NODE"]


class Named(socketserver.StreamRequestHandler):
    """One request, one answer, and the end."""

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        name = _NODE.encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Served-By: %b\r\nContent-Length: 0\r\n\r\n" % name)


class Server(socketserver.ThreadingTCPServer):
    """Accepts many connections at once."""

    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    with Server((f"203.0.113.{_NODE.removeprefix('s')}", int(sys.argv[1])), Named) as server:
        server.serve_forever()
