# SPDX-License-Identifier: Apache-2.0
"""An application with room for few connections that have not been accepted: a backlog of 4.

    python few.py PORT

It answers one request on each connection with its name, and notes in `accepted` in its node's run
directory whom it has accepted.
"""

import os
import socket
import sys
from pathlib import Path

BACKLOG = 4


def serve(port: int) -> None:
    name = os.environ["IPOS_NODE"]
    listener = socket.create_server(("0.0.0.0", port), backlog=BACKLOG)
    answer = (
        f"HTTP/1.1 200 OK\r\nX-Served-By: {name}\r\nContent-Length: {len(name)}\r\n"
        f"Connection: close\r\n\r\n{name}"
    ).encode()
    with (Path(os.environ["IPOS_RUN_DIR"]) / "accepted").open("a") as accepted:
        while True:
            connection, (address, client_port) = listener.accept()
            accepted.write(f"{address}:{client_port}\n")
            accepted.flush()
            with connection:
                try:
                    if connection.recv(65536):
                        connection.sendall(answer)
                except ConnectionError:
                    pass  # the client went away before it was accepted


if __name__ == "__main__":
    serve(int(sys.argv[1]))
