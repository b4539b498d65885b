# SPDX-License-Identifier: Apache-2.0
"""A socket is read whole, and another one goes on where it stood, on a loopback interface."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipos.agent.endpoints import tcp_repair
from ipos.agent.endpoints.image import NOTHING_KNOWN, decode, encode
from ipos.agent.endpoints.tcp_repair import Image, Unmovable
from ipos.lab import namespaces

pytestmark = pytest.mark.farm
LOCAL, CLIENT = ("127.0.0.1", 4321), ("127.0.0.2", 0)
NAME = "ipos-test-repair"


@pytest.fixture(scope="module", autouse=True)
def _namespace() -> Iterator[None]:
    """One whose loopback is up, with nothing else in it."""
    subprocess.run(["ip", "netns", "add", NAME], check=True)
    try:
        subprocess.run(["ip", "-n", NAME, "link", "set", "lo", "up"], check=True)
        with namespaces.entered(Path("/run/netns") / NAME):
            yield
    finally:
        subprocess.run(["ip", "netns", "del", NAME], check=True)


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's socket, and ours."""
    with socket.create_server(LOCAL) as listener:
        client = socket.create_connection(LOCAL, 5, CLIENT)
        accepted, _ = listener.accept()
        with client, accepted:
            yield client, accepted


def frozen(ours: socket.socket, longest: int = 1 << 24) -> Image:
    tcp_repair.freeze(ours)
    return tcp_repair.dump(ours, NOTHING_KNOWN, longest)


def nft(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def moved(ours: socket.socket, image: Image) -> socket.socket:
    """Meanwhile a firewall is in the place of the data plane: no socket would be a reset."""
    client = ours.getpeername()
    rule = f"type filter hook input priority 0; tcp dport {LOCAL[1]} drop"
    nft(f"table ip still {{ chain input {{ {rule}; }}; }}")
    try:
        tcp_repair.leave(ours)
        made = tcp_repair.begin(socket.AF_INET, 0)
        tcp_repair.restore(made, decode(encode(image)), LOCAL, client)
    finally:
        nft("delete table ip still")
    tcp_repair.go_live(made)
    made.settimeout(5)
    return made


def test_a_quiet_connection_goes_on_in_another_socket() -> None:
    with pair() as (client, ours):
        client.sendall(b"one")
        assert ours.recv(9) == b"one"
        ours.sendall(b"two")
        assert client.recv(9) == b"two"
        image = frozen(ours)
        assert (image.received, image.to_send) == (b"", b"")
        with moved(ours, image) as made:
            client.sendall(b"three")
            assert made.recv(9) == b"three"
            made.sendall(b"four")
            assert client.recv(9) == b"four"
            assert made.getsockname() == LOCAL
            client.shutdown(socket.SHUT_WR)
            assert made.recv(9) == b""


def test_what_nobody_has_read_or_acknowledged_comes_too() -> None:
    """More than the client's buffers take: a part of it was never sent."""
    with pair() as (client, ours):
        client.sendall(b"unread" * 1000)
        big = bytes(range(256)) * 40_000
        ours.setblocking(False)
        written = 0
        try:
            while written < len(big):
                written += ours.send(big[written:])
        except BlockingIOError:
            pass
        image = frozen(ours)
        assert image.received == b"unread" * 1000
        assert image.to_send
        assert image.to_send == big[written - len(image.to_send) : written]
        with moved(ours, image) as made:
            made.setblocking(False)
            got, rest = bytearray(), memoryview(image.unsent)
            client.settimeout(5)
            while len(got) < written:
                if rest:
                    try:
                        rest = rest[made.send(rest) :]
                    except BlockingIOError:
                        pass
                got += client.recv(1 << 16)
            assert bytes(got) == big[:written]
            made.settimeout(5)
            assert made.recv(1 << 20) == b"unread" * 1000


def test_a_connection_that_closes_does_not_migrate() -> None:
    with pair() as (client, ours):
        client.shutdown(socket.SHUT_WR)
        assert ours.recv(1) == b""
        with pytest.raises(Unmovable, match="closing"):
            frozen(ours)


def test_long_queues_are_refused_with_their_lengths() -> None:
    with pair() as (client, ours):
        client.sendall(bytes(2000))
        ours.recv(1, socket.MSG_PEEK)
        with pytest.raises(Unmovable, match="2000 not read"):
            frozen(ours, longest=1999)


def test_a_socket_that_is_taken_back_goes_on() -> None:
    with pair() as (client, ours):
        client.sendall(b"unread")
        ours.recv(1, socket.MSG_PEEK)
        frozen(ours)
        tcp_repair.thaw(ours)
        assert ours.recv(9) == b"unread"
        ours.sendall(b"here")
        assert client.recv(9) == b"here"
