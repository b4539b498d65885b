# SPDX-License-Identifier: Apache-2.0
"""The cookie that begins a session: one line in the first response, and no other byte changes.

The raw application writes the very bytes that a test has made, in pieces of any size, so what comes
back must be these bytes with the line behind the first final status line. nginx sends its files by
sendfile, and so does Apache. Requests come to all servers, answered there or elsewhere.
"""

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Final

import pytest

from ipos.lab import faults, pattern
from tests.farm.applied import APACHE, ASKING, FILES, INSERT, INSERT_EVERY
from tests.support.farm import SERVERS, Farm

pytestmark = pytest.mark.farm

COOKIE: Final = re.compile(
    rb"Set-Cookie: IPOS=[0-9a-f]{40}; Path=/(?:; Max-Age=600; HttpOnly; Secure; SameSite=Lax"
    rb"|; HttpOnly)\r\n"
)
"""With the attributes that the raw application's service gives it, and nginx's."""

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
NO_BODY: Final = b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"
UNCHANGED: Final = b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n'
CHUNKED: Final = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n11\r\nHTTP/1.1 200 OK\r\n\r\n0\r\nTrailer: x\r\n\r\n"
)
HINTS: Final = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n"
INNER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (2 * len(OK), 2 * OK)
LONG: Final = b"HTTP/1.1 200 OK\r\nX-Long: %b\r\nContent-Length: 2\r\n\r\nok" % (b"l" * 6000)

RESPONSES: Final = {
    "length": (b"", OK),
    "204": (b"", NO_BODY),
    "304": (b"", UNCHANGED),
    "chunked": (b"", CHUNKED),
    "head": (b"", HEAD),
    "100": (CONTINUE, OK),
    "103 twice": (HINTS + HINTS, CHUNKED),
    "100, 102 and 204": (CONTINUE + b"HTTP/1.1 102 Processing\r\n\r\n", NO_BODY),
    "111 and 191 are interim": (b"HTTP/1.1 111 A\r\n\r\nHTTP/1.1 191 B\r\n\r\n", OK),
    "101 is final": (
        b"",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n",
    ),
    "responses in a body": (b"", INNER),
    "no reason phrase": (b"", b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"),
    "a long head": (b"", LONG),
}
"""What comes before the final response, and it."""


@pytest.fixture
def farm(applications: Farm) -> Farm:
    applications.wait_idle()
    return applications


def posted(response: bytes, *headers: str, method: str = "POST") -> bytes:
    """A request that is answered by these bytes."""
    lines = [f"{method} / HTTP/1.1", "Host: farm.example", f"Content-Length: {len(response)}"]
    return ("\r\n".join([*lines, *headers]) + "\r\n\r\n").encode() + response


def exchange(farm: Farm, server: str, data: bytes, port: int = INSERT) -> bytes:
    """All that comes back; the last request of `data` ends the connection."""
    with farm.connect(port, server) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def taken_out(data: bytes, at: int) -> bytes:
    """What is left without the line, which begins there and is the only one."""
    found = [match.span() for match in COOKIE.finditer(data)]
    assert [start for start, _ in found] == [at], data[:300]
    return data[:at] + data[found[0][1] :]


def behind_status_line(interim: bytes, response: bytes) -> int:
    return len(interim) + response.index(b"\r\n") + 2


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize("piece", [0, 1, 7])
def test_one_line_in_the_first_response(farm: Farm, name: str, piece: int) -> None:
    """Twice on one connection, and once more pipelined behind it."""
    interim, response = RESPONSES[name]
    whole = interim + response
    method = "HEAD" if name == "head" else "POST"
    once = posted(whole, f"X-Piece: {piece}", method=method)
    last = posted(whole, f"X-Piece: {piece}", "X-Close: 1", method=method)
    for server in SERVERS:
        data = exchange(farm, server, once + last)
        assert taken_out(data, behind_status_line(interim, response)) == 2 * whole


def test_two_pieces_cut_anywhere(farm: Farm) -> None:
    """The cut goes through every byte of an interim response and of the final head."""
    whole = CONTINUE + OK
    servers = cycle(SERVERS)
    for cut in range(1, len(whole)):
        data = exchange(farm, next(servers), posted(whole, f"X-Piece: {cut}", "X-Close: 1"))
        assert taken_out(data, behind_status_line(CONTINUE, OK)) == whole


@pytest.mark.parametrize(
    "response",
    [b"hello", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n", b"HTTP/1.1 1x1 \r\n\r\n"],
)
def test_what_is_no_response_of_http_1_is_left_alone(farm: Farm, response: bytes) -> None:
    for piece in (0, 1):
        data = posted(response, f"X-Piece: {piece}", "X-Close: 1")
        assert exchange(farm, "s1", data) == response


def test_more_interim_responses_than_anybody_sends(farm: Farm) -> None:
    """Beyond a thousand bytes in one write nothing is inserted, and nothing changes."""
    before = farm.all_counters()
    whole = HINTS * 30 + OK
    assert exchange(farm, "s1", posted(whole, "X-Close: 1")) == whole
    untold = {server: counts["session_untold"] for server, counts in farm.all_counters().items()}
    assert sum(untold.values()) == sum(each["session_untold"] for each in before.values()) + 1


def whole_file(size: int) -> bytes:
    return b"".join(pattern.chunks(size))


def _get(name: str, *headers: str, method: str = "GET") -> bytes:
    lines = [f"{method} /{name} HTTP/1.1", "Host: farm.example", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _split(data: bytes) -> tuple[bytes, bytes]:
    """The head without the line that begins a session, and what follows the head."""
    head, _, rest = data.partition(b"\r\n\r\n")
    line = head.index(b"\r\n") + 2
    return taken_out(head + b"\r\n\r\n", line), rest


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("size", [0, 1, 1000, 100_000, 10_000_000])
@pytest.mark.parametrize(("port", "name"), [(FILES, b"nginx"), (APACHE, b"Apache")])
def test_files_by_sendfile_are_whole(
    farm: Farm, port: int, name: bytes, server: str, size: int
) -> None:
    last = ("Connection: close",)
    file, content = str(size), whole_file(size)
    head, rest = _split(exchange(farm, server, _get(file) + _get(file, *last), port))
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nServer: " + name in head
    assert f"Content-Length: {size}\r\n".encode() in head
    assert rest[:size] == content
    second, _, rest = rest[size:].partition(b"\r\n\r\n")
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Set-Cookie" not in second
    assert rest == content


def test_nginx_answers_without_a_body(farm: Farm) -> None:
    close = "Connection: close"
    head, rest = _split(exchange(farm, "s1", _get("100000", close, method="HEAD"), FILES))
    assert b"Content-Length: 100000\r\n" in head
    assert rest == b""
    tag = re.search(rb"ETag: (.*)\r\n", head)
    assert tag is not None
    unchanged = _get("100000", f"If-None-Match: {tag[1].decode()}", close)
    head, rest = _split(exchange(farm, "s2", unchanged, FILES))
    assert head.startswith(b"HTTP/1.1 304 ")
    assert rest == b""
    part = _get("10000000", "Range: bytes=4000000-4000099", close)
    head, rest = _split(exchange(farm, "s3", part, FILES))
    assert head.startswith(b"HTTP/1.1 206 ")
    assert rest == whole_file(10_000_000)[4_000_000:4_000_100]


def test_a_client_that_reads_slowly_gets_all_of_it(farm: Farm) -> None:
    """The line is put in once, however often nginx has to wait for room."""
    client = farm.unconnected()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with farm.connect(FILES, "s2", client) as connection:
        connection.sendall(_get("10000000", "Connection: close"))
        data = b"".join(iter(lambda: connection.recv(4096), b""))
    _, rest = _split(data)
    assert rest == whole_file(10_000_000)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("size", [100, 1100, 1500, 4000, 14_000])
@pytest.mark.parametrize("port", [FILES, APACHE, ASKING])
def test_programs_read_heads_of_any_length(farm: Farm, port: int, size: int, server: str) -> None:
    """What the socket says of how much there is to read must be true before the response."""
    fixed = _get("1000", "X-Long: ", "Content-Length: 0", "Connection: close")
    long = "X-Long: " + "l" * (size - len(fixed))
    data = _get("1000", long, "Content-Length: 0", "Connection: close")
    head, rest = _split(exchange(farm, server, data, port))
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert rest == (b"%d of 0" % len(data) if port == ASKING else whole_file(1000))


@pytest.mark.parametrize("size", [2000, 100_000, 10_000_000])
def test_programs_read_bodies_of_any_length(farm: Farm, size: int) -> None:
    for server in SERVERS:
        data = posted(whole_file(size))
        _, rest = _split(exchange(farm, server, data, ASKING))
        assert rest == b"%d of %d" % (len(data) - size, size)


@pytest.mark.parametrize("port", [FILES, APACHE])
def test_a_body_is_passed_on_and_its_answer_back(farm: Farm, port: int) -> None:
    """Ten megabytes up, and as many down again."""
    content = whole_file(10_000_000)
    response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)
    for server in SERVERS:
        request = posted(response, "Connection: close").replace(b"POST / ", b"POST /through ", 1)
        with farm.connect(port, server) as connection:
            connection.sendall(request)
            data = b"".join(iter(lambda c=connection: c.recv(1 << 18), b""))  # type: ignore[misc]
        _, rest = _split(data)
        assert rest == content


def test_a_connection_that_has_its_line_moves(farm: Farm) -> None:
    """The first owner puts it in and no other, and the client's stream goes on without a gap."""
    with farm.connect(INSERT_EVERY) as connection:
        for number, server in enumerate(("s1", "s2", "s3", "s1", "s2")):
            connection.sendall(posted(OK).replace(b"POST / ", b"POST /%b/ " % server.encode(), 1))
            data = connection.recv(1 << 16)
            while not data.endswith(b"hello"):
                data += connection.recv(1 << 16)
            assert (data if number else taken_out(data, behind_status_line(b"", OK))) == OK
        connection.sendall(posted(OK, "X-Close: 1").replace(b"POST / ", b"POST /s2/ ", 1))
        assert b"".join(iter(lambda: connection.recv(1 << 16), b"")) == OK


def test_a_lossy_link_changes_nothing(farm: Farm) -> None:
    """Whatever TCP sends again, in pieces of whatever size, are the same bytes."""
    content = whole_file(100_000)

    def patient(number: int, port: int, data: bytes) -> bytes:
        client = farm.unconnected()
        client.settimeout(300)
        with farm.connect(port, SERVERS[number % 3], client) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))

    def one(number: int) -> None:
        _, rest = _split(patient(number, FILES, _get("100000", "Connection: close")))
        assert rest == content
        piece = number % 5
        data = patient(number, INSERT, posted(CONTINUE + OK, f"X-Piece: {piece}", "X-Close: 1"))
        assert taken_out(data, behind_status_line(CONTINUE, OK)) == CONTINUE + OK

    faults.set_loss(farm.lab, 10, [("client1", "front")])
    try:
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(one, range(48)))
    finally:
        faults.set_loss(farm.lab, 0)
