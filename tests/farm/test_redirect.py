# SPDX-License-Identifier: Apache-2.0
"""Sessions by name: clients are sent to their server's own name, and stay with it."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.farm import ANY, SERVERS, Answer, Farm, read_answer, wait_until
from tests.support.shared import farm_with

pytestmark = pytest.mark.farm

NAMES = {server: f"{server}.shop.example" for server in SERVERS}
CONFIG = """\
[[service]]
name = "web"
port = 80
slow_start_ms = 0
policy = "round-robin"
session = { kind = "redirect", name = "{server}.shop.example" }

[[service]]
name = "other"
port = 8001
policy = "round-robin"
session = { kind = "redirect", name = "{server}.shop.example" }

[[service]]
name = "narrow"
port = 8002
session = { kind = "redirect", name = "{server}.shop.example" }

[[route]]
service = "narrow"
servers = ["s2"]
"""
OTHER, NARROW = 8001, 8002


@pytest.fixture(scope="module")
def _module_farm() -> Iterator[Farm]:
    with farm_with(CONFIG) as made:
        yield made


@pytest.fixture
def farm(_module_farm: Farm) -> Farm:
    _module_farm.wait_idle()
    return _module_farm


def ask(
    farm: Farm, host: str, target: str = "/", server: str = "s1", port: int = ANY, extra: str = ""
) -> Answer:
    with farm.connect(port, server) as connection:
        head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{extra}\r\n"
        connection.sendall(head.encode("latin-1"))
        return read_answer(connection)


def sent_to(answer: Answer) -> str:
    """The server whose name a redirect gives."""
    assert answer.status == 307, answer
    return answer.headers["location"].removeprefix("http://").partition(".")[0]


def curl(farm: Farm, first: str, *urls: str) -> list[list[str]]:
    """What curl -L sees of each: status, redirects, who answered, the last URL."""
    seen = "%{http_code} %{num_redirects} %header{x-served-by} %{url_effective}\\n"
    resolve = [f"www.shop.example:80:{farm.address(first)}"]
    resolve += [f"{name}:80:{farm.address(server)}" for server, name in NAMES.items()]
    told = [part for one in resolve for part in ("--resolve", one)]
    output = farm.run(
        "client1", "curl", "-sS", "-L", "--max-redirs", "3", "-o", "/dev/null", "-w", seen, *told,
        *urls,
    )  # fmt: skip
    return [line.split() for line in output.splitlines() if line]


@pytest.mark.parametrize("first", SERVERS)
def test_every_session_stays_with_its_server(farm: Farm, first: str) -> None:
    sessions = curl(farm, first, "http://www.shop.example/?session=[1-60]")
    assert {(row[0], row[1]) for row in sessions} == {("200", "1")}
    for _, _, server, url in sessions:
        assert url.startswith(f"http://{NAMES[server]}/?session=")
    assert set(Counter(row[2] for row in sessions)) == set(SERVERS)
    for server, name in NAMES.items():
        rest = curl(farm, first, f"http://{name}/?request=[1-20]")
        assert {tuple(row[:3]) for row in rest} == {("200", "0", server)}


def test_a_name_is_its_servers_at_every_first_server(farm: Farm) -> None:
    for server, name in NAMES.items():
        for first in SERVERS:
            for host in (name, name.upper(), f"{name}:80"):
                assert ask(farm, host, server=first).served_by == server


@pytest.mark.parametrize("target", ["/", "/a/../b%2Cc//d?q=%20&x=/y?z", "//other.example/"])
def test_the_target_stays_as_it_was_sent(farm: Farm, target: str) -> None:
    answer = ask(farm, "www.shop.example", target)
    assert answer.headers["location"] == f"http://{NAMES[sent_to(answer)]}{target}"
    assert answer.headers["cache-control"] == "no-store"
    assert (answer.headers["connection"], answer.body) == ("close", b"")
    answer = ask(farm, "www.shop.example", target, port=OTHER)
    assert answer.headers["location"] == f"http://{NAMES[sent_to(answer)]}:{OTHER}{target}"


def test_what_cannot_be_sent_on_is_served(farm: Farm) -> None:
    assert ask(farm, "www.shop.example", "/" + "a" * 700).status == 307
    assert ask(farm, "www.shop.example", "/" + "a" * 1100).status != 307
    assert ask(farm, "www.shop.example", "http://www.shop.example/").status == 200
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    assert ask(farm, "www.shop.example", extra=upgrade).status != 307


def test_a_route_keeps_its_requests_from_a_server_of_another_name(farm: Farm) -> None:
    assert sent_to(ask(farm, "www.shop.example", port=NARROW)) == "s2"
    for first in SERVERS:
        assert ask(farm, NAMES["s1"], server=first, port=NARROW).served_by == "s2"


def test_a_server_in_drain_keeps_its_sessions_and_gets_none(farm: Farm) -> None:
    farm.run("s2", "ipos", "server", "set", "s2", "drain", "--force")
    try:
        wait_until("s2 in drain everywhere", lambda: _states(farm, 2) == {2})
        for first in SERVERS:
            assert ask(farm, NAMES["s2"], server=first).served_by == "s2"
            for _ in range(4):
                assert sent_to(ask(farm, "www.shop.example", server=first)) != "s2"
        farm.run("s2", "ipos", "server", "set", "s2", "maint")
        wait_until("s2 in maintenance everywhere", lambda: _states(farm, 2) == {3})
        for first in ("s1", "s3"):
            assert sent_to(ask(farm, NAMES["s2"], server=first)) != "s2"
    finally:
        farm.run("s2", "ipos", "server", "set", "s2", "ready")
        wait_until("every server ready", farm.ready)


def _states(farm: Farm, index: int) -> set[int]:
    rows = [tables.servers.get(index) for tables in farm.tables.values()]
    return {int(row.state) for row in rows if row is not None}


def test_explain_says_it(farm: Farm) -> None:
    told = farm.run("s1", "ipos", "explain", "http://s2.shop.example/")
    assert "s2.shop.example is the server's own name" in " ".join(told.split())
    told = farm.run("s1", "ipos", "explain", "http://www.shop.example:8001/")
    assert "s3 by http://s3.shop.example:8001" in " ".join(told.split())
