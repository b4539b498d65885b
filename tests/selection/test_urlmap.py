# SPDX-License-Identifier: Apache-2.0
"""Which rule fits, case by case, and paths as rules see them."""

import itertools

import pytest

from ipos.selection.urlmap import Rule, match
from ipos.selection.urlpath import normal_path

RULES = (
    Rule("*", "/"),
    Rule("*", "/img"),
    Rule("*", "=/img"),
    Rule("*", "/img/large/"),
    Rule("*.example.org", "/img"),
    Rule("*.b.example.org", "/img"),
    Rule("www.example.org", "/img"),
    Rule("www.example.org", "=/img"),
    Rule("www.example.org", "/"),
    Rule("example.org", "=/"),
)


@pytest.mark.parametrize(
    ("host", "path", "rule"),
    [
        ("other.net", "/", "*/"),
        ("", "/", "*/"),
        ("", "", "*/"),
        ("www.example.org", "", "www.example.org/"),
        ("other.net", "/img", "*=/img"),
        ("other.net", "/imgs", "*/img"),
        ("other.net", "/img/large/x", "*/img/large/"),
        ("www.example.org", "/img/large/x", "*/img/large/"),  # the path comes before the host
        ("www.example.org", "/img/x", "www.example.org/img"),
        ("www.example.org", "/img", "www.example.org=/img"),
        ("www.example.org", "/im", "www.example.org/"),
        ("ftp.example.org", "/img", "*.example.org/img"),  # the host comes before exactness
        ("a.b.example.org", "/img", "*.b.example.org/img"),
        ("x.a.b.example.org", "/img", "*.b.example.org/img"),
        ("b.example.org", "/img/", "*.example.org/img"),
        ("example.org", "/img", "*=/img"),  # a wildcard does not fit the bare name
        ("notexample.org", "/img", "*=/img"),
        (".example.org", "/img", "*=/img"),
        ("example.org", "/", "example.org=/"),
        ("example.org", "/x", "*/"),
    ],
)
def test_the_best_rule_wins_in_any_order(host: str, path: str, rule: str) -> None:
    for rules in itertools.islice(itertools.permutations(RULES), 0, 40320, 1009):
        assert str(match(rules, host, path)) == rule


PROTOCOLS = (
    Rule("*", "/", 1),
    Rule("www.example.org", "/", 2),
    Rule("*", "/", 3, ("acme-tls/1",)),
    Rule("*.example.org", "/", 4, ("h2", "h3")),
    Rule("www.example.org", "/", 5, ("h2",)),
    Rule("*", "/img", 6),
)


@pytest.mark.parametrize(
    ("host", "offers", "number"),
    [
        ("www.example.org", (), 2),
        ("www.example.org", ("http/1.1",), 2),
        ("www.example.org", ("h2", "http/1.1"), 5),
        ("www.example.org", ("h3", "h2"), 4),  # the client's order comes before the host
        ("www.example.org", ("http/1.1", "acme-tls/1"), 3),
        ("ftp.example.org", ("h2",), 4),
        ("other.net", ("h2",), 1),
        ("", ("acme-tls/1", "h2"), 3),
        ("", (*(f"x{n}" for n in range(16)), "acme-tls/1"), 1),  # more than are looked up
    ],
)
def test_the_first_protocol_that_a_rule_names_decides(
    host: str, offers: tuple[str, ...], number: int
) -> None:
    found = match(PROTOCOLS, host, "", offers)
    assert found is not None
    assert found.number == number


def test_nothing_fits() -> None:
    assert match((), "a", "/") is None
    assert match((Rule("a", "/b"),), "a", "/") is None
    assert match((Rule("a", "/"),), "b", "/") is None


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/..", "/"),
        ("/a/.", "/a/"),
        ("/a//b///", "/a/b/"),
        ("/%61%2Fb", "/a/b"),
        ("/a/%2e%2e/b", "/b"),
        ("/%2561", "/%61"),
        ("/a?b=/../c", "/a"),
        ("/a#b", "/a"),
        ("/...", "/..."),
        ("/%zz", "/%zz"),
        ("/%C3%BC", "/\u00fc"),
        ("/..", None),
        ("/a/../../b", None),
        ("*", None),
        ("", None),
    ],
)
def test_paths_as_rules_see_them(target: str, path: str | None) -> None:
    assert normal_path(target) == path
