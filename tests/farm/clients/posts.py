# SPDX-License-Identifier: Apache-2.0
"""POST as many bytes as a head's window takes, a connection each, from several processes.

posts.py ADDRESS PORT PROCESSES SECONDS: one line, how many were answered and what went wrong.
"""

import json
import multiprocessing
import socket
import sys
import time
from collections import Counter

BODY = 14_000


def post(address: tuple[str, int]) -> str:
    """ "" for an answer of 200 or 404 whole enough, else what happened."""
    head = f"POST / HTTP/1.1\r\nHost: a.b\r\nConnection: close\r\nContent-Length: {BODY}\r\n\r\n"
    try:
        with socket.create_connection(address, 10) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(head.encode())
            connection.sendall(b"x" * BODY)
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    return "" if answer.startswith(b"HTTP/1.1 ") else f"answered {answer[:40]!r}"


def several(address: tuple[str, int], seconds: float) -> Counter[str]:
    results: Counter[str] = Counter()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        results[post(address)] += 1
    return results


def main() -> None:
    address, processes, seconds = (sys.argv[1], int(sys.argv[2])), int(sys.argv[3]), sys.argv[4]
    with multiprocessing.Pool(processes) as pool:
        parts = pool.starmap(several, [(address, float(seconds))] * processes)
    total = sum(parts, Counter[str]())
    print(json.dumps({"answered": total.pop("", 0), "wrong": dict(total)}))


if __name__ == "__main__":
    main()
