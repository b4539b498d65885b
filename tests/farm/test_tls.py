# SPDX-License-Identifier: Apache-2.0
"""The server name of a ClientHello decides, however it is cut, and the TLS behind it works.

curl and openssl are the clients where a kernel's TCP will do. A hello out of order is sent by a TCP
of the tests' own, with Python's ssl on top of it. The hello is as long as one with a key share of
X25519MLKEM768 is, which the openssl of the tests' machine need not know: its list of protocols
makes it so.
"""

import itertools
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.support.farm import SERVERS, Farm, request
from tests.support.shared import farm_with
from tests.support.usertcp import UserTcp

pytestmark = pytest.mark.farm

TLS = 443
CONFIG = """\
[[service]]
name = "secure"
port = 443
application = "127.0.0.1:8443"
slow_start_ms = 0

[[route]]
service = "secure"
servers = ["s1"]

[[route]]
service = "secure"
host = "*.example.org"
servers = ["s2"]

[[route]]
service = "secure"
host = "www.example.org"
servers = ["s3"]

[[route]]
service = "secure"
host = "*.protocols.example"
servers = ["s1"]

[[route]]
service = "secure"
host = "*.protocols.example"
alpn = ["h2"]
servers = ["s2"]

[[route]]
service = "secure"
alpn = ["acme-tls/1", "x"]
servers = ["s3"]
"""
NAMES = {
    "www.example.org": "s3",
    "WWW.Example.ORG": "s3",
    "ftp.example.org": "s2",
    "a.ftp.example.org": "s2",
    "example.org": "s1",
    "": "s1",
}
LENGTH = 1850
MSS = 1380
"""No segment is longer."""


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with farm_with(CONFIG) as made:
        yield made


@pytest.fixture(autouse=True)
def whole(farm: Farm) -> None:
    farm.wait_idle()


@dataclass
class Client:
    """Python's TLS without a socket. `hello` is what it says first."""

    name: str
    hello: bytes = b""
    answer: bytes = b""
    incoming: ssl.MemoryBIO = field(default_factory=ssl.MemoryBIO)
    outgoing: ssl.MemoryBIO = field(default_factory=ssl.MemoryBIO)

    def __post_init__(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols([*(f"{n:0230}" for n in range(7)), "http/1.1"])
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=self.name or None)
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.hello = self.outgoing.read()

    def talk(self, received: bytes) -> bytes:
        """What to send after this has come. It asks for `/` when the handshake is done."""
        self.incoming.write(received)
        try:
            if self.tls.version() is None or not self.answer:
                self.tls.do_handshake()
            if not self.answer:
                self.answer = b"?"
                self.tls.write(request("/"))
            while piece := self.tls.read(65536):
                self.answer += piece
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            pass
        return self.outgoing.read()


def served_by(text: str) -> str:
    lines = [line for line in text.splitlines() if line.lower().startswith("x-served-by:")]
    assert len(lines) == 1, text
    return lines[0].split(":")[1].strip()


def curl(farm: Farm, name: str, first: str, *options: str) -> str:
    """Who answers curl."""
    address = farm.address(first)
    resolve = ("--resolve", f"{name}:443:{address}") if name else ()
    url = f"https://{name or address}/"
    command = ("curl", "-sSki", "--noproxy", "*", "--max-time", "20", *resolve, *options, url)
    return served_by(farm.run("client1", *command))


def pieces_of(hello: bytes, *cuts: int) -> list[tuple[int, bytes]]:
    """(offset, bytes) of a hello cut there, and wherever a piece is longer than a segment."""
    edges = [0, *cuts, len(hello)]
    return [
        (at, hello[at : min(at + MSS, end)])
        for start, end in itertools.pairwise(edges)
        for at in range(start, end, MSS)
    ]


def exchange(farm: Farm, name: str, pieces: list[int] | None, *, back: bool, first: str) -> str:
    """Who answers a hello that is cut there, sent from the front or from the back."""
    client = Client(name)
    cut = pieces_of(client.hello, *(pieces or []))
    with UserTcp(farm, TLS, first) as tcp:
        tcp.connect()
        for at, piece in reversed(cut) if back else cut:
            tcp.send_at(at, piece)
        sent, taken = len(client.hello), 0
        for _ in range(100):
            data = client.talk(tcp.received[taken:])
            taken = len(tcp.received)
            if data:
                tcp.send_at(sent, data)
                sent += len(data)
            if client.answer.endswith(b"\n") and b"\r\n\r\n" in client.answer:
                break
            assert not tcp.reset, f"reset after {client.answer!r}, cut at {pieces}"
            assert tcp.pump(5.0), f"silence after {taken} bytes, cut at {pieces}"
    return served_by(client.answer[1:].decode())


@pytest.mark.parametrize("first", SERVERS)
def test_curl_comes_to_the_names_server(farm: Farm, first: str) -> None:
    found = {name: curl(farm, name, first, "--http1.1") for name in NAMES}
    assert found == NAMES


def test_http2_within_tls(farm: Farm) -> None:
    assert {name: curl(farm, name, "s1", "--http2") for name in NAMES} == NAMES


def test_the_protocols_of_a_hello_decide(farm: Farm) -> None:
    """curl offers HTTP/2 first, or HTTP/1.1 alone."""
    name = "www.protocols.example"
    for first in SERVERS:
        assert curl(farm, name, first, "--http1.1") == "s1"
        assert curl(farm, name, first, "--http2") == "s2"


@pytest.mark.parametrize(
    ("offers", "rule", "who"),
    [
        ("http/1.1", "*.protocols.example/", "s1"),
        ("http/1.1,h2", "*.protocols.example alpn h2", "s2"),
        ("http/1.1,acme-tls/1,h2", "* alpn acme-tls/1,x", "s3"),
        ("h2,acme-tls/1", "*.protocols.example alpn h2", "s2"),
    ],
)
def test_a_test_of_routes_names_the_rule_of_a_protocol(
    farm: Farm, offers: str, rule: str, who: str
) -> None:
    url = f"https://a.protocols.example:{TLS}/"
    told = json.loads(farm.run("s1", "ipos", "route", "test", url, "--alpn", offers, "-o", "json"))
    assert (told["rule"], told["servers"]) == (rule, [who])


@pytest.mark.parametrize(
    ("offers", "who"), [("http/1.1", "s1"), ("x,http/1.1", "s3"), ("http/1.1,acme-tls/1", "s3")]
)
def test_openssl_comes_to_the_protocols_server(farm: Farm, offers: str, who: str) -> None:
    done = farm.lab.run(
        "client1",
        ["openssl", "s_client", "-connect", f"{farm.address('s2')}:{TLS}", "-quiet",
         "-servername", "a.protocols.example", "-alpn", offers],
        input=request("/").decode(), capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.stdout, (done.returncode, done.stderr)
    assert served_by(done.stdout) == who


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_comes_to_the_names_server(farm: Farm, version: str) -> None:
    found = {}
    for name in NAMES:
        server = ("-servername", name) if name else ("-noservername",)
        done = farm.lab.run(
            "client1",
            ["openssl", "s_client", "-connect", f"{farm.address('s2')}:{TLS}", *server, version,
             "-quiet"],
            input=request("/").decode(), capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert done.stdout, (name, done.returncode, done.stderr)
        found[name] = served_by(done.stdout)
    assert found == NAMES


@pytest.mark.parametrize("back", [False, True], ids=["in order", "reversed"])
@pytest.mark.parametrize("name", ["www.example.org", "ftp.example.org", ""])
def test_a_long_hello_cut_anywhere(farm: Farm, name: str, back: bool) -> None:
    hello = Client(name).hello
    assert len(hello) > LENGTH
    server_name = max(hello.find(name.encode()), 80) if name else 80
    cuts = {1, 3, 5, 6, 9, 44, server_name, server_name + 3, 700, 1377, len(hello) - 1}
    assert {exchange(farm, name, [cut], back=back, first="s1") for cut in cuts} == {NAMES[name]}


@pytest.mark.parametrize("back", [False, True], ids=["in order", "reversed"])
def test_a_hello_in_many_pieces(farm: Farm, back: bool) -> None:
    for cuts in ([1, 2, 3, 4], [5, 9, 100, 1500], [500, 1000, 1500]):
        for name, who in NAMES.items():
            assert exchange(farm, name, cuts, back=back, first="s2") == who


def test_a_hello_in_any_order(farm: Farm) -> None:
    """Its first segment last, then its second twice."""
    client = Client("www.example.org")
    first, second, third = pieces_of(client.hello, 100, 1400)
    with UserTcp(farm, TLS) as tcp:
        tcp.connect()
        for at, piece in (third, second, second, first, first):
            tcp.send_at(at, piece)
        while not tcp.received:
            assert tcp.pump(5.0)
        assert farm.rows("s1", ["holding", "forward"]) == {"holding": 0, "forward": 1}
        assert farm.rows("s3", ["connect"]) == {"connect": 1}


@pytest.mark.slow
@pytest.mark.parametrize("back", [False, True], ids=["in order", "reversed"])
def test_a_long_hello_cut_at_every_byte(farm: Farm, back: bool) -> None:
    name = "www.example.org"
    wrong = {
        cut: who
        for cut in range(1, len(Client(name).hello))
        if (who := exchange(farm, name, [cut], back=back, first="s1")) != NAMES[name]
    }
    assert not wrong
