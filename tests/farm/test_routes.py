# SPDX-License-Identifier: Apache-2.0
"""Routes by host and path with real nginx: the right pool answers, at every first server."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from tests.support.farm import SERVERS, Farm, read_answer
from tests.support.shared import farm_with

pytestmark = pytest.mark.farm

SERVICE = """\
[[service]]
name = "web"
port = 80
slow_start_ms = 0

[[pool]]
name = "images"
servers = { s2 = 1 }

[[pool]]
name = "shop"
servers = { s1 = 1, s3 = 1 }
"""
ROUTES = (
    ("*", "/", 'servers = ["s1"]'),
    ("*", "/img/", 'pool = "images"'),
    ("*.example.org", "/", 'pool = "shop"'),
    ("www.example.org", "/", 'servers = ["s3"]'),
    ("www.example.org", "=/img/s1", 'servers = ["s1"]'),
    ("*.example.org", "/img/large/", 'servers = ["s3"]'),
    ("*", "/b\u00fccher", 'servers = ["s2"]'),
)
RULES = 10_000


def routes(rules: tuple[tuple[str, str, str], ...]) -> str:
    return "".join(
        f'[[route]]\nservice = "web"\nhost = "{host}"\npath = "{path}"\n{to}\n'
        for host, path, to in rules
    )


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    config = SERVICE + routes(ROUTES)
    with farm_with(config) as made:
        yield made


@pytest.fixture(autouse=True)
def whole(farm: Farm) -> None:
    farm.wait_idle()


def rewrite(farm: Farm, rules: tuple[tuple[str, str, str], ...]) -> None:
    """Have every server follow these rules from now on."""
    for place in farm.lab.places():
        file = place.config_file
        file.write_text(file.read_text().split("[[route]]")[0] + routes(rules))
        farm.run(place.node, "ipos", "reload")


def ask(farm: Farm, host: str, target: str, server: str = "s1", port: int = 80) -> str:
    """Who answers."""
    with farm.connect(port, server) as connection:
        head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode("latin-1"))
        return read_answer(connection).served_by


@pytest.mark.parametrize("first", SERVERS)
@pytest.mark.parametrize(
    ("host", "target", "who"),
    [
        ("a", "/", {"s1"}),
        ("a", "/imgs", {"s1"}),
        ("a", "/img/x?y=/../..", {"s2"}),
        ("a", "/%69mg//x", {"s2"}),
        ("a", "/a/../img/x", {"s2"}),
        ("a", "/img/../x", {"s1"}),
        ("a", "/b%C3%BCcher/x", {"s2"}),
        ("ftp.example.org", "/", {"s1", "s3"}),
        ("FTP.Example.ORG:80", "/", {"s1", "s3"}),
        ("ftp.example.org", "/img/x", {"s2"}),
        ("a.ftp.example.org", "/img/large/x", {"s3"}),
        ("example.org", "/img/large/x", {"s2"}),
        ("www.example.org", "/x", {"s3"}),
        ("www.example.org", "/img/s1", {"s1"}),
        ("www.example.org", "/img/s10", {"s2"}),
    ],
)
def test_the_rules_pool_answers(
    farm: Farm, first: str, host: str, target: str, who: set[str]
) -> None:
    answers = {ask(farm, host, target, first) for _ in range(4 * len(who))}
    assert answers <= who
    if first == "s1":
        text = farm.run("s1", "ipos", "route", "test", f"http://{host}{target}", "-o", "json")
        assert set(json.loads(text)["servers"]) == who


def test_the_rules_are_shown(farm: Farm) -> None:
    listed = json.loads(farm.run("s2", "ipos", "route", "list", "-o", "json"))
    assert [(row["host"], row["path"]) for row in listed] == [rule[:2] for rule in ROUTES]
    table = json.loads(farm.run("s2", "ipos", "table", "url", "-o", "json"))
    urls = {(row["url"], row["server_ip"]) for row in table}
    assert ("*/img/", farm.address("s2")) in urls
    assert {ip for url, ip in urls if url == "*.example.org/"} == {
        farm.address("s1"),
        farm.address("s3"),
    }
    told = farm.run("s3", "ipos", "explain", f"http://{farm.address('s3')}/img/x")
    assert "route 2, */img/, gives it to images" in told


@dataclass
class Load:
    """Requests without a pause, each on a connection of its own, and what is wrong with answers."""

    farm: Farm
    right: Callable[[int], tuple[str, set[str]]]
    done: int = 0
    wrong: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, first: str) -> None:
        number = 0
        while not self.stop.is_set():
            target, who = self.right(number)
            number += 1
            try:
                served = ask(self.farm, "a", target, first)
            except (OSError, AssertionError) as error:
                self.wrong.append(f"{target} at {first}: {error!r}")
                continue
            if served not in who:
                self.wrong.append(f"{target} at {first}: {served}")
            self.done += 1


@pytest.mark.slow
def test_ten_thousand_rules_change_under_load(farm: Farm) -> None:
    """What a request asks for is forbidden to all but its own servers, before, during and after."""
    fixed = (("*", "/", 'servers = ["s1"]'), ("*", "/img/", 'pool = "images"'))
    old = tuple(("*", f"/swap/{n}/", 'servers = ["s2"]') for n in range(RULES - len(fixed)))
    new = tuple((host, path, 'servers = ["s3"]') for host, path, _ in old)
    kinds = [("/", {"s1"}), ("/img/x", {"s2"}), ("/swap/17/x", {"s2", "s3"}),
             ("/swap/9000/x", {"s2", "s3"}), ("/swap/9999/x", {"s1"})]  # fmt: skip
    rewrite(farm, (*fixed, *old))
    load = Load(farm, lambda number: kinds[number % len(kinds)])
    threads = [threading.Thread(target=load.run, args=(first,)) for first in SERVERS]
    for thread in threads:
        thread.start()
    try:
        for rules in ((*new, *fixed), (*fixed, *old), (*new, *fixed)):
            before = load.done
            rewrite(farm, rules)
            assert load.done > before
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()
        with suppress(AssertionError):
            rewrite(farm, ROUTES)
    assert load.wrong == []
    assert ask(farm, "a", "/img/x") == "s2"
