# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 with prior knowledge: the first request's path decides for its connection.

h2load and curl send their HEADERS with the preface, so the path decides. A client that waits for
the server's SETTINGS has named no path: such a connection goes where any path may go.
"""

import re
import struct
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ipos.abi import rows
from ipos.lab import faults
from ipos.selection.sessions import learned_hash
from tests.support.farm import SERVERS, Farm, grown, wait_until
from tests.support.shared import farm_with

pytestmark = pytest.mark.farm

H2, INSERT, LEARN, HTTP1 = 8082, 8101, 8102, 8103
CONFIG = """\
[[service]]
name = "h2"
port = 8082
application = "127.0.0.1:8082"
slow_start_ms = 0

[[service]]
name = "insert"
port = 8101
application = "127.0.0.1:8082"
slow_start_ms = 0
session = { kind = "insert" }

[[service]]
name = "learn"
port = 8102
application = "127.0.0.1:8082"
slow_start_ms = 0
session = { kind = "learn", cookie = "SESSION" }

[[service]]
name = "http1"
port = 8103
application = "127.0.0.1:8080"
policy = "round-robin"
slow_start_ms = 0
session = { kind = "insert" }

[[route]]
service = "h2"
servers = ["s1", "s2"]

[[route]]
service = "h2"
path = "/bytes/"
servers = ["s3"]

[[route]]
service = "h2"
path = "=/two"
servers = ["s2"]

[[route]]
service = "h2"
host = "*.example.org"
servers = ["s1"]
"""
SETTINGS = 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with farm_with(CONFIG) as made:
        yield made


@pytest.fixture(autouse=True)
def whole(farm: Farm) -> None:
    farm.wait_idle()


def curl(farm: Farm, path: str, first: str, *options: str, port: int = H2) -> str:
    """Who answers curl; again, if it was starved between its preface and its request."""
    for _ in range(5):
        let_in = _let_in(farm)
        who = _curl(farm, path, first, *options, port=port)
        if _let_in(farm) == let_in:
            break
    return who


def _curl(farm: Farm, path: str, first: str, *options: str, port: int) -> str:
    url = f"http://{farm.address(first)}:{port}{path}"
    command = ("curl", "-sS", "-o", "/dev/null", "-D", "-", "--http2-prior-knowledge")
    text = farm.run("client1", *command, "--max-time", "20", *options, url)
    found = re.findall(r"(?i)^x-served-by: (\S+)", text, re.MULTILINE)
    assert len(found) == 1, text
    return str(found[0])


@pytest.mark.parametrize("first", SERVERS)
def test_curl_comes_to_the_paths_server(farm: Farm, first: str) -> None:
    assert curl(farm, "/bytes/1000", first) == "s3"
    assert curl(farm, "/x/..//byte%73/1000000", first) == "s3"
    assert curl(farm, "/two", first) == "s2"
    assert curl(farm, "/two?x", first, "-H", "Cookie: " + "c" * 3000) == "s2"
    assert curl(farm, "/", first, "-H", "Host: WWW.example.org:8082") == "s1"
    assert curl(farm, "/two", first, "-d", "body" * 5000) == "s2"
    found: set[str] = set()

    def both() -> bool:
        found.add(curl(farm, "/", first))
        return len(found) > 1

    wait_until("both have served", both, 30)
    assert found == {"s1", "s2"}


@pytest.mark.parametrize(("path", "who"), [("/", {"s1", "s2"}), ("/bytes/1000", {"s3"})])
def test_h2load_by_path(farm: Farm, path: str, who: set[str]) -> None:
    """Every request of every connection is answered, and by the path's own servers."""
    before = served(farm)
    count = 6000
    for first in ("s1", "s3"):
        url = f"http://{farm.address(first)}:{H2}{path}"
        text = farm.run("client1", "h2load", "-n", f"{count}", "-c", "60", "-m", "10", url)
        assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in text, text
        assert f"status codes: {count} 2xx, 0 3xx, 0 4xx, 0 5xx" in text
    after = wait_until("the logs have it all", lambda: logged(farm, before, 2 * count))
    assert {server for server, n in after.items() if n} == who
    if len(who) > 1:
        assert min(after[server] for server in who) > count / 4


def _untold(farm: Farm) -> int:
    return sum(counts["session_untold"] for counts in farm.all_counters().values())


def _h2load(farm: Farm, cookie: str) -> set[str]:
    """Who answers 300 requests of 30 connections with this cookie.

    A line of the log may be a request's before these: it is written behind the answer.
    """
    before = served(farm)
    url = f"http://{farm.address('s1')}:{INSERT}/"
    text = farm.run("client1", "h2load", "-n300", "-c30", "-H", f"cookie: {cookie}", url)
    assert "300 succeeded, 0 failed, 0 errored, 0 timeout" in text, text
    after: Counter[str] = wait_until("the logs have it", lambda: logged(farm, before, 300))
    return set(+after)


def test_an_inserted_cookie_has_its_server_in_http_2_too(farm: Farm) -> None:
    """HTTP/1 gives it; HTTP/2, into whose responses none is inserted, comes back by it."""
    given: dict[str, str] = {}
    while given.keys() != set(SERVERS):
        answer = farm.get(port=HTTP1)
        given[answer.served_by] = answer.headers["set-cookie"].partition(";")[0]
    untold = _untold(farm)
    for server, cookie in given.items():
        for first in SERVERS:
            many = ("-b", f"a={'a' * 50}; {cookie}; z=z")
            assert curl(farm, "/two", first, *many, port=INSERT) == server
        assert _h2load(farm, cookie) == {server}
    damaged = given["s1"][:-1] + ("0" if given["s1"][-1] != "0" else "1")
    who = {curl(farm, "/", "s1", "-b", damaged, port=INSERT) for _ in range(12)}
    assert len(who) > 1
    assert _untold(farm) == untold


def test_a_learned_cookie_has_its_server_in_http_2_too(farm: Farm) -> None:
    """The row is put into the map: what HTTP/2 applications answer is not read."""
    for server in SERVERS:
        value = f"session-of-{server}"
        for tables in farm.tables.values():
            settings = tables.settings.get(0)
            owner = tables.servers.get(int(server[1:]))
            assert settings is not None
            assert owner is not None
            key = rows.CookieKey(
                learned_hash(value.encode(), struct.pack("<QQ", *settings.learn_key)), LEARN
            )
            expires = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 600 * 10**9
            tables.cookies.put(key, rows.Cookie(owner.address, expires_ns=expires))
        for first in SERVERS:
            for _ in range(3):
                assert curl(farm, "/", first, "-b", f"SESSION={value}", port=LEARN) == server


def served(farm: Farm) -> Counter[str]:
    """How many requests each nginx has logged."""
    return Counter(
        {
            place.node: (place.run_dir / "nginx" / "access.log").read_text().count("\n")
            for place in farm.lab.places()
        }
    )


def logged(farm: Farm, before: Counter[str], count: int) -> Counter[str] | None:
    """How many more each has, as soon as there are that many."""
    new = served(farm)
    new.subtract(before)
    return new if new.total() >= count else None


def _let_in(farm: Farm) -> int:
    """Connections that the agents have ended the silence of."""
    return sum(counts["silence_ended"] for counts in farm.all_counters().values())


def _preface_alone(farm: Farm) -> None:
    """A client that says no more before it has the server's SETTINGS."""
    with farm.connect(H2) as connection:
        connection.sendall(PREFACE)
        assert connection.recv(9)[3] == SETTINGS


def _agent_lets_in(farm: Farm, tries: int = 5) -> bool:
    """Whether its agent was sooner than the client's retransmission, at least once: it may be
    starved for a while.
    """
    for _ in range(tries):
        before = _let_in(farm)
        _preface_alone(farm)
        if _let_in(farm) == before + 1:
            return True
    return False


def test_a_client_that_waits_for_settings_is_let_in(farm: Farm) -> None:
    """The servers of any path answer it; the decision and `explain` say that no path counts."""
    with farm.watching("s1", 1) as events:
        assert _agent_lets_in(farm)
    (event,) = events
    assert event["server"] in ("s1", "s2")
    assert event["reason"] == "the policy's choice for HTTP/2 that named no host or path"
    url = f"http://{farm.address('s1')}:{H2}"
    assert "waits for the server's SETTINGS" in farm.run("s1", "ipos", "explain", f"{url}/bytes/1")
    assert "SETTINGS" not in farm.run("s1", "ipos", "explain", f"{url}/")


def test_without_an_agent_it_is_let_in_when_it_sends_again(farm: Farm) -> None:
    before = _let_in(farm)
    faults.kill_agent(farm.lab, "s1")
    try:
        _preface_alone(farm)
        assert _let_in(farm) == before
    finally:
        farm.lab.start_agent("s1")
    wait_until("every server ready", farm.ready, 20)
    assert _agent_lets_in(farm)


def _flight(path: bytes) -> bytes:
    """HEADERS of a request for a path of ten bytes."""
    block = bytes.fromhex("8286") + b"\x04\x0a" + path + b"\x01\x04farm"
    return len(block).to_bytes(3, "big") + b"\x01\x05" + (1).to_bytes(4, "big") + block


def test_a_request_that_comes_as_the_agent_does(farm: Farm) -> None:
    """Decided by whichever is first, on two CPUs at once or not, and once: all are answered."""
    before = farm.all_counters()

    def one(number: int) -> bool:
        with farm.connect(H2, SERVERS[number % 3]) as connection:
            connection.sendall(PREFACE)
            time.sleep(0.013 + number % 100 * 0.000_2)  # the agent comes after 15 to 30 ms
            connection.sendall(_flight(b"/bytes/100"))
            seen = b""
            while len(seen) < 150:
                seen += (piece := connection.recv(65536))
                assert piece
        return True

    with ThreadPoolExecutor(20) as clients:
        assert all(clients.map(one, range(600)))
    farm.wait_idle()
    after = farm.all_counters()
    let_in = sum(after[each]["silence_ended"] - before[each]["silence_ended"] for each in SERVERS)
    assert 0 < let_in < 600
    assert [grown(before[each], after[each]).get("rst_sent") for each in SERVERS] == [None] * 3


def test_headers_that_come_in_a_segment_of_their_own(farm: Farm) -> None:
    """Of a client that has more to say, however it cuts it, the path is known."""
    flight = PREFACE + bytes.fromhex("00000408000000000000010000") + _flight(b"/bytes/100")
    before, late = served(farm), _let_in(farm)
    cuts = (24, 33, 46, 50, 55, 60, len(flight) - 1)
    for cut in cuts:
        for _ in range(5):
            let_in = _let_in(farm)
            with farm.connect(H2, "s2") as connection:
                connection.sendall(flight[:cut])
                connection.sendall(flight[cut:])
                seen = b""
                while len(seen) < 100:
                    seen += (piece := connection.recv(65536))
                    assert piece
            if _let_in(farm) == let_in:
                break  # else we were starved between the two, for longer than anybody waits
    late = _let_in(farm) - late
    after = wait_until("the log has it", lambda: logged(farm, before, len(cuts) + late))
    assert after["s3"] == len(cuts)
