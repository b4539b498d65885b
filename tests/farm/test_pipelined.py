# SPDX-License-Identifier: Apache-2.0
"""Requests and chunks that come many at once: all are answered, and next to nothing is dropped.

What is dropped a client sends again after 200 ms at the earliest, and twice as long each time.
"""

import json
import socket
from collections.abc import Iterator

import pytest

from tests.farm.alternation import asked, chunked, posted
from tests.farm.test_moving import CONFIG, _one
from tests.support.farm import SERVERS, Farm, read_answer
from tests.support.shared import farm_with
from tests.support.usertcp import UserTcp

pytestmark = pytest.mark.farm

FEW = 4  # drops, of a process that has its socket just when the next segment comes


@pytest.fixture(scope="module")
def _module_farm() -> Iterator[Farm]:
    with farm_with(CONFIG) as made:
        yield made


@pytest.fixture
def farm(_module_farm: Farm) -> Farm:
    _module_farm.wait_idle()
    return _module_farm


def _answers(connection: socket.socket, count: int) -> list[str]:
    """Who gave each; whatever comes together is read together."""
    data, found = b"", list[str]()
    while len(found) < count:
        head, end, rest = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")[1:] if end else []
        fields = dict(line.lower().split(b": ", 1) for line in lines)
        size = int(fields.get(b"content-length", b"0"))
        if end and len(rest) >= size:
            assert head.startswith(b"HTTP/1.1 200"), head
            found.append(fields[b"x-served-by"].decode())
            data = rest[size:]
            continue
        more = connection.recv(65536)
        assert more, (len(found), data)
        data += more
    return found


def _dropped(farm: Farm) -> int:
    names = ("drop_ahead", "drop_bad_checksum", "drop_bad_sequence", "drop_out_of_order")
    return sum(counts[name] for counts in farm.all_counters().values() for name in names)


@pytest.mark.parametrize("server", SERVERS[:2], ids=["here", "migrated"])
@pytest.mark.parametrize("count", [50, 100, 400])
def test_any_number_in_one_go(farm: Farm, server: str, count: int) -> None:
    dropped = _dropped(farm)
    with farm.connect() as connection:
        connection.sendall(asked(server) * count)
        assert _answers(connection, count) == [server] * count
    assert count > 100 or _dropped(farm) < dropped + FEW


def test_many_behind_one_of_another_kind(farm: Farm) -> None:
    """Bodies between them, and a first request that migrates: what follows travels with it."""
    dropped = _dropped(farm)
    with farm.connect() as connection:
        connection.sendall((asked("s2") + posted("s2", b"b" * 50) + asked("s2", "/bytes/9")) * 5)
        assert _answers(connection, 15) == ["s2"] * 15
    assert _dropped(farm) < dropped + FEW


@pytest.mark.parametrize("first", SERVERS)
def test_between_two_routes(farm: Farm, first: str) -> None:
    """Each moves with all that is behind it."""
    dropped = _dropped(farm)
    other = SERVERS[SERVERS.index(first) - 1]
    with farm.connect() as connection:
        connection.sendall((asked(first) + asked(other)) * 5)
        assert [_one(connection) for _ in range(10)] == [first, other] * 5
    assert _dropped(farm) < dropped + FEW


@pytest.mark.parametrize("server", SERVERS[:2], ids=["here", "migrated"])
def test_chunks_of_eight_bytes(farm: Farm, server: str) -> None:
    """Many in a segment, and then each in a segment of its own."""
    with farm.connect() as connection:
        connection.sendall(chunked(server, [b"abc"] * 8_000))
        assert json.loads(read_answer(connection).body)["length"] == 24_000
        connection.sendall(chunked(server, []).removesuffix(b"0\r\n\r\n"))
        for _ in range(300):
            connection.sendall(b"3\r\nabc\r\n")
        connection.sendall(b"0\r\n\r\n")
        assert json.loads(read_answer(connection).body)["length"] == 900
        connection.sendall(asked(server))
        assert read_answer(connection).served_by == server


def test_a_decoy_is_not_what_counts(farm: Farm) -> None:
    """Heads that our kernel throws away, and the true one at their place, for another server."""
    with UserTcp(farm) as client:
        client.connect()
        first, decoy = asked("s1"), asked("s1", "/decoy/")
        client.send_at(0, first)
        client.read_answer()
        at, client.received, answered = client.next_seq, b"", client.received
        client.server_isn += len(answered)
        wrong = client.packet("PA", at, decoy)
        wrong["TCP"].chksum = 1
        client.emit(wrong)
        client.send("PA", at, decoy, ack=(client.ack + 1) % 2**32)
        client.send("P", at, decoy)
        client.send("PA", at, decoy, options=[("NOP", None), ("NOP", None), ("Timestamp", (1, 1))])
        client.send("FA", at - 5_000)  # a stranger's
        client.send_at(len(first), asked("s2"))
        assert client.read_answer().served_by == "s2"
