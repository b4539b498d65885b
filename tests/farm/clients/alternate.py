# SPDX-License-Identifier: Apache-2.0
"""One keep-alive connection whose requests are for one server after the other.

    python alternate.py ADDRESS COUNT SERVER...

Asks for http://SERVER.example/, COUNT times on port 80 of ADDRESS, and fails at the first answer
that is not that server's. Prints the median and the longest time of a request in milliseconds.
"""

import socket
import sys
import time
from statistics import median


def main(address: str, count: int, servers: list[str]) -> None:
    asked = [f"GET / HTTP/1.1\r\nHost: {server}.example\r\n\r\n".encode() for server in servers]
    served = [f"\r\nX-Served-By: {server}\r\n".encode() for server in servers]
    took = []
    with socket.create_connection((address, 80), 30) as connection:
        connection.settimeout(30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(count):
            which = number % len(servers)
            started = time.perf_counter()
            connection.sendall(asked[which])
            answer = connection.recv(4096)
            took.append(time.perf_counter() - started)
            if served[which] not in answer or not answer.startswith(b"HTTP/1.1 200 "):
                sys.exit(f"request {number} for {servers[which]} was answered by {answer!r}")
    print(f"{1000 * median(took):.3f} {1000 * max(took):.3f}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
