# SPDX-License-Identifier: Apache-2.0
"""Every mistake in a `[[route]]` that needs more than its type to be seen, with its sentence."""

from pathlib import Path

import pytest

from ipos.config import ConfigError, parse
from ipos.config.routes import RULES_MAX, TARGETS_MAX

HEAD = """\
[farm]
name = "shop"
secret_file = "farm.key"
members = ["10.77.0.1", "10.77.0.2"]
[server]
name = "s1"
front = "eth0"
back = "eth1"
addresses = ["203.0.113.1"]
[[service]]
name = "web"
port = 80
[[service]]
name = "mail"
port = 25
select = "connection"
[[pool]]
name = "all"
servers = { s1 = 1, s2 = 3 }
"""
FIRST = HEAD.count("\n") + 1
WEB = '[[route]]\nservice = "web"\n'
DECODED = "is percent-encoded, and requests are decoded before rules see them"
EMPTY = "has an empty segment, which requests lose before rules see them"
DOTS = "has a dot segment, which is resolved before rules see a request"
QUERY = "has a query or fragment, which rules do not look at"


def mistakes(routes: str, file: Path) -> list[tuple[int, str]]:
    """Lines count from the first route's."""
    with pytest.raises(ConfigError) as raised:
        parse(HEAD + routes, file)
    return [(mistake.line - FIRST + 1, mistake.text) for mistake in raised.value.mistakes]


@pytest.mark.parametrize(
    "route",
    [
        'pool = "all"',
        'servers = ["s1", "s2"]',
        'pool = "all"\nhost = "*.example.org"\npath = "/img/"',
        'pool = "all"\nhost = "WWW.Example.org"\npath = "=/"',
        'pool = "all"\npath = "/."',
        'pool = "all"\npath = "/b\u00fccher/100%/a b"',
        f'pool = "all"\npath = "/{"x" * 239}"',
        f'pool = "all"\nhost = "{"x" * 116}.org"',
        'pool = "all"\nhost = "*.example.org"\nalpn = ["h2", "http/1.1"]',
        f'pool = "all"\nalpn = ["{"x" * 32}"]',
    ],
)
def test_routes_that_are_right(route: str, file: Path) -> None:
    assert len(parse(f"{HEAD}{WEB}{route}\n", file).route) == 1


@pytest.mark.parametrize(
    ("route", "line", "sentence"),
    [
        ("", 1, "a route has neither pool nor servers; it must have one of them"),
        ('pool = "all"\nservers = ["s1"]', 1,
         "a route has both pool and servers; it must have one of them"),
        ('pool = "al"', 3, 'no pool is called "al"; there is all'),
        ('servers = ["s1", "s1"]', 3, 'servers names "s1" twice; name each server once'),
        ('pool = "all"\nalpn = ["h2", "h2"]', 4, 'alpn names "h2" twice; name each protocol once'),
        ('pool = "all"\nalpn = ["h2"]\npath = "/a"', 4,
         ('a route has alpn and path = "/a"; a client that offers protocols has told no path yet; '
          "leave one of them out")),
        ('pool = "all"\nalpn = ["h 2"]', 4,
         ('route[1].alpn is ["h 2"]; it must be a list of 1 to 16 names of protocols, such as '
          '["h2", "http/1.1"]')),
        ('pool = "all"\npath = "/a/../b"', 4, f'path "/a/../b" {DOTS}; write "/b"'),
        ('pool = "all"\npath = "/./b"', 4, f'path "/./b" {DOTS}; write "/b"'),
        ('pool = "all"\npath = "=/b/."', 4, f'path "=/b/." {DOTS}; write "=/b/"'),
        ('pool = "all"\npath = "/.."', 4, f'path "/.." {DOTS}'),
        ('pool = "all"\npath = "/%61"', 4, f'path "/%61" {DECODED}; write "/a"'),
        ('pool = "all"\npath = "/%2e%2E/x"', 4, f'path "/%2e%2E/x" {DECODED}'),
        ('pool = "all"\npath = "/%00"', 4, f'path "/%00" {DECODED}'),
        ('pool = "all"\npath = "/%C3%BC"', 4, f'path "/%C3%BC" {DECODED}; write "/\u00fc"'),
        ('pool = "all"\npath = "=/a//b"', 4, f'path "=/a//b" {EMPTY}; write "=/a/b"'),
        ('pool = "all"\npath = "/a?b"', 4, f'path "/a?b" {QUERY}; write "/a"'),
        ('pool = "all"\npath = "/a#b"', 4, f'path "/a#b" {QUERY}; write "/a"'),
        (f'pool = "all"\npath = "/{"x" * 240}"', 4,
         f'path "/{"x" * 240}" has 241 bytes; it may have at most 240'),
        (f'pool = "all"\nhost = "{"x" * 121}"', 4,
         "host has 121 characters; it may have at most 120"),
        ('pool = "all"\nhost = "*.1.2.3.4.5.6.7.8.9"', 4,
         '"*.1.2.3.4.5.6.7.8.9" has 9 labels behind the asterisk; it may have at most 8'),
    ],
)  # fmt: skip
def test_a_wrong_route_is_named(route: str, line: int, sentence: str, file: Path) -> None:
    assert mistakes(f"{WEB}{route}\n", file) == [(line, sentence)]


def test_a_rule_may_be_there_once(file: Path) -> None:
    one = f'{WEB}pool = "all"\nhost = "www.example.org"\npath = "/img"\n'
    other = f'{WEB}servers = ["s1"]\npath = "/img"\nhost = "WWW.example.org"\n'
    assert mistakes(one + other, file) == [
        (
            6,
            (
                'a second route of service "web" for www.example.org/img; the first is on line '
                f"{FIRST}; leave one"
            ),
        )
    ]
    parse(HEAD + one + one.replace("/img", "=/img") + one.replace("www", "ftp"), file)


def test_a_protocol_of_a_host_may_have_one_rule(file: Path) -> None:
    one = f'{WEB}pool = "all"\nalpn = ["h2", "http/1.1"]\n'
    other = f'{WEB}servers = ["s1"]\nalpn = ["h3", "h2"]\n'
    assert mistakes(one + other, file) == [
        (
            5,
            (
                'a second route of service "web" for * alpn h2; the first is on line '
                f"{FIRST}; leave one"
            ),
        )
    ]
    parse(f'{HEAD}{one}{other}host = "www.example.org"\n{WEB}pool = "all"\n', file)


@pytest.mark.parametrize(("mode", "ok"), [("auto", True), ("tls", True), ("http", False)])
def test_only_tls_offers_protocols(mode: str, ok: bool, file: Path) -> None:
    text = HEAD.replace("port = 80", f'port = 80\nmode = "{mode}"')
    text += f'{WEB}pool = "all"\nalpn = ["h2"]\n'
    if ok:
        assert parse(text, file).route[0].alpn == ["h2"]
        return
    with pytest.raises(ConfigError, match='has mode = "http", and a route with alpn, which only'):
        parse(text, file)


def test_on_connection_there_is_nothing_to_look_at(file: Path) -> None:
    mail = '[[route]]\nservice = "mail"\npool = "all"\n'
    parse(HEAD + mail, file)
    assert mistakes(f'{mail}host = "mail.example.org"\n', file) == [
        (
            1,
            (
                'service "mail" selects on connection, before there is a host or path to look at; '
                "its route may have neither"
            ),
        )
    ]


def test_routes_and_their_pools_are_limited(file: Path) -> None:
    text = "".join(f'{WEB}pool = "all"\npath = "/{n}"\n' for n in range(RULES_MAX))
    assert len(parse(HEAD + text, file).route) == RULES_MAX
    more = f'{text}{WEB}pool = "all"\n'
    assert mistakes(more, file) == [
        (4 * RULES_MAX + 1, "there are 10001 routes; a farm has at most 10000")
    ]
    text = "".join(f'{WEB}servers = ["x{n}"]\npath = "/{n}"\n' for n in range(TARGETS_MAX))
    parse(HEAD + text, file)
    assert mistakes(f'{text}{WEB}pool = "all"\n', file) == [
        (
            4 * TARGETS_MAX + 1,
            "routes lead to more than 300 pools, counted for each service; let routes share pools",
        )
    ]
