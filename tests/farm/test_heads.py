# SPDX-License-Identifier: Apache-2.0
"""A request head in every segmentation: always the answer of the unsplit one, without a stall.

The heads are written by a plain TCP_NODELAY socket, each piece a segment of its own, where the
order is the writer's; in reverse order by a TCP of the tests' own.
"""

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.farm import (
    ANY,
    CLIENT,
    ELSEWHERE,
    HERE,
    MAPPED,
    Answer,
    Farm,
    read_answer,
    request,
    retransmissions,
)
from tests.support.usertcp import UserTcp

pytestmark = pytest.mark.farm

HEAD = request("/", "Accept: */*", "X-Long: " + "a" * 20)


def _write(connection: socket.socket, pieces: list[bytes], pace_s: float = 0.0) -> None:
    for piece in pieces:
        connection.sendall(piece)
        if pace_s:
            time.sleep(pace_s)  # the writer's own pace: what the test is about


def _told(farm: Farm, port: int, pieces: list[bytes], pace_s: float = 0.0) -> Answer:
    """The answer to a head in pieces, without a stall: see `_without_stall`."""
    return _without_stall(farm, port, lambda connection: _write(connection, pieces, pace_s))


def _without_stall(
    farm: Farm,
    port: int,
    write: Callable[[socket.socket], None],
    client: Callable[[Farm], socket.socket] = Farm.unconnected,
) -> Answer:
    """The answer to what is written. Nothing of it was missed, so nothing was sent again.

    Time is no measure, because a busy machine takes it from anybody. It makes a client send again
    now and then, too; a head that is missed makes it do so every time.
    """
    for _ in range(3):
        with farm.connect(port, client=client(farm)) as connection:
            write(connection)
            answer = read_answer(connection)
            if not retransmissions(connection):
                return answer
    raise AssertionError("the client had to send its head again")


def _expect(answer: Answer, port: int) -> None:
    assert answer.status == 200
    assert answer.headers["x-client"] == CLIENT
    assert answer.body == f"{answer.served_by}\n".encode()
    owner = {HERE: "s1", ELSEWHERE: "s2", MAPPED: "s2"}.get(port)
    assert owner in (None, answer.served_by)


@pytest.mark.parametrize("port", [ANY, HERE, ELSEWHERE, MAPPED])
def test_a_head_cut_at_every_byte(farm: Farm, port: int) -> None:
    for cut in range(1, len(HEAD)):
        _expect(_told(farm, port, [HEAD[:cut], HEAD[cut:]]), port)


@pytest.mark.parametrize("port", [HERE, ELSEWHERE])
def test_a_head_cut_with_a_pause(farm: Farm, port: int) -> None:
    def one(cut: int) -> None:
        _expect(_told(farm, port, [HEAD[:cut], HEAD[cut:]], 0.03), port)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(1, len(HEAD), 7)))


@pytest.mark.parametrize("port", [HERE, ELSEWHERE])
@pytest.mark.parametrize("pace_s", [0.0, 0.002, 0.02])
def test_a_head_written_one_byte_at_a_time(farm: Farm, port: int, pace_s: float) -> None:
    pieces = [HEAD[i : i + 1] for i in range(len(HEAD))]
    _expect(_told(farm, port, pieces, pace_s), port)


@pytest.mark.parametrize("port", [HERE, ELSEWHERE])
def test_one_byte_at_a_time_by_a_writer_that_waits_for_acknowledgements(
    farm: Farm, port: int
) -> None:
    """Without TCP_NODELAY a second small segment waits for the first one's acknowledgement."""

    def write(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        for i in range(len(HEAD)):
            connection.sendall(HEAD[i : i + 1])

    _expect(_without_stall(farm, port, write), port)


def _long_head(length: int) -> bytes:
    bare = len(request("/", "X-Fill: "))
    return request("/", "X-Fill: " + "f" * (length - bare))


@pytest.mark.parametrize("port", [HERE, ELSEWHERE])
@pytest.mark.parametrize("mss", [536, 1220, 1432])
@pytest.mark.parametrize("length", [1000, 1024, 1025, 2048, 4000, 9000, 14600])
def test_a_long_head(farm: Farm, port: int, mss: int, length: int) -> None:
    head = _long_head(length)
    assert len(head) == length

    def client(farm: Farm) -> socket.socket:
        made = farm.unconnected()
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, mss)
        return made

    _expect(_without_stall(farm, port, lambda made: made.sendall(head), client), port)


@pytest.mark.parametrize("port", [HERE, ELSEWHERE])
def test_a_head_longer_than_the_window_is_refused(farm: Farm, port: int) -> None:
    with farm.connect(port) as connection:
        connection.sendall(_long_head(20_000))
        assert read_answer(connection).status == 431


@pytest.mark.parametrize("port", [HERE, ELSEWHERE])
@pytest.mark.parametrize("size", [1, 7, 40, 300, 536])
def test_segments_in_reverse_order(farm: Farm, port: int, size: int) -> None:
    head = HEAD if size < 300 else _long_head(9 * size)
    # More gaps than the farm keeps are not kept: the client sends those segments again.
    with UserTcp(farm, port, mss=536) as client:
        client.connect()
        pieces = [(at, head[at : at + size]) for at in range(0, len(head), size)]
        for at, piece in reversed(pieces):
            client.send_at(at, piece)
        client.finish_sending(head)
        answer = client.read_answer()
    _expect(answer, port)


@pytest.mark.parametrize("port", [HERE, ELSEWHERE])
def test_two_halves_in_reverse_at_every_byte(farm: Farm, port: int) -> None:
    for cut in range(1, len(HEAD)):
        with UserTcp(farm, port) as client:
            client.connect()
            client.send_at(cut, HEAD[cut:])
            client.send_at(0, HEAD[:cut])
            _expect(client.read_answer(), port)  # this client sends nothing again


def send_with_fin(connection: socket.socket, data: bytes) -> None:
    """The data and the client's FIN in one segment, as MSG_MORE, TCP_CORK and lwIP send them."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("size", [100, 1200, 9000])
@pytest.mark.parametrize("port", [HERE, ELSEWHERE])
def test_request_and_fin_in_one_segment(farm: Farm, port: int, size: int) -> None:
    with farm.connect(port) as connection:
        send_with_fin(connection, _long_head(size))
        _expect(read_answer(connection), port)
        assert connection.recv(1) == b""
