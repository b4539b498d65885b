# SPDX-License-Identifier: Apache-2.0
"""Many bytes through a migrated connection: all of them, once, in order, at 1500-byte MTU."""

import hashlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ipos.lab import pattern
from tests.support.farm import ELSEWHERE, HERE, MAPPED, Farm, read_answer, request

pytestmark = pytest.mark.farm

LENGTH = 100_000_000
PAUSE_S = 0.005


def _download(connection: socket.socket, pause_s: float = 0) -> tuple[dict[str, str], int, str]:
    """The answer's headers, and length and hash of its body up to the end of the stream.

    pause_s: how long to read nothing after each megabyte.
    """
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[1:]
    headers = {
        name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)
    }
    digest = hashlib.sha256(body)
    length = read = len(body)
    buffer = memoryview(bytearray(1 << 20))
    while count := connection.recv_into(buffer):
        digest.update(buffer[:count])
        length += count
        if length - read > len(buffer):
            read = length
            time.sleep(pause_s)
    return headers, length, digest.hexdigest()


@pytest.mark.parametrize("node", ["s1", "s2", "client1", "router1"])
def test_every_link_has_the_usual_mtu(farm: Farm, node: str) -> None:
    shown = json.loads(farm.run(node, "ip", "-j", "link"))
    assert {link["mtu"] for link in shown if link["ifname"] != "lo"} == {1500}


@pytest.mark.parametrize("port", [HERE, ELSEWHERE, MAPPED])
def test_a_download(farm: Farm, port: int) -> None:
    with farm.connect(port) as connection:
        connection.sendall(request(f"/bytes/{LENGTH}"))
        headers, length, digest = _download(connection)
    assert headers["x-served-by"] == ("s1" if port == HERE else "s2")
    assert (length, digest) == (LENGTH, pattern.sha256(LENGTH))


@pytest.mark.parametrize("port", [HERE, ELSEWHERE])
def test_a_client_that_half_closes_receives_everything(farm: Farm, port: int) -> None:
    with farm.connect(port) as connection:
        connection.sendall(request(f"/bytes/{LENGTH}"))
        connection.shutdown(socket.SHUT_WR)
        # Slower than the server: whoever gives up when he sees the end of a client's bytes does so
        # with much of the answer unsent.
        _, length, digest = _download(connection, PAUSE_S)
    assert (length, digest) == (LENGTH, pattern.sha256(LENGTH))


@pytest.mark.parametrize("port", [HERE, ELSEWHERE])
def test_an_upload(farm: Farm, port: int) -> None:
    before = farm.counters("s1")["forwarded"]
    with farm.connect(port) as connection:
        head = f"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {LENGTH}\r\n\r\n"
        connection.sendall(head.encode())
        for piece in pattern.chunks(LENGTH):
            connection.sendall(piece)
        answer = read_answer(connection)
    assert answer.served_by == ("s1" if port == HERE else "s2")
    assert json.loads(answer.body) == {"length": LENGTH, "sha256": pattern.sha256(LENGTH)}
    forwarded = farm.counters("s1")["forwarded"] - before
    assert (forwarded > LENGTH // 1460) == (port == ELSEWHERE)


def test_downloads_and_uploads_side_by_side(farm: Farm) -> None:
    length = 10_000_000

    def down(_: int) -> None:
        with farm.connect(ELSEWHERE) as connection:
            connection.sendall(request(f"/bytes/{length}"))
            assert _download(connection)[1:] == (length, pattern.sha256(length))

    def up(_: int) -> None:
        with farm.connect(ELSEWHERE) as connection:
            head = f"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
            connection.sendall(head.encode())
            for piece in pattern.chunks(length):
                connection.sendall(piece)
            assert json.loads(read_answer(connection).body)["sha256"] == pattern.sha256(length)

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(each, i) for i in range(4) for each in (down, up)]:
            future.result()
