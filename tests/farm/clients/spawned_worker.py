# SPDX-License-Identifier: Apache-2.0
"""python spawned_worker.py PORT [ARGUMENT...]: tells each connection who and where it is, and
echoes.

Its first line is a JSON list: its server, its process and its arguments. With `--broken` it ends at
once.
"""

import json
import os
import socketserver
import sys


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        told = [os.environ["IPOS_SERVER"], os.getpid(), sys.argv[2:]]
        self.wfile.write(json.dumps(told).encode() + b"\n")
        for line in self.rfile:
            self.wfile.write(line)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    if "--broken" in sys.argv:
        sys.exit(7)
    Server(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
