# SPDX-License-Identifier: Apache-2.0
"""What the rules of a running iNIC say of a URL, and what is listed of them."""

from ipaddress import IPv4Address

import pytest

from ipos.agent.view.explanation import explain
from ipos.agent.view.rules_in_force import Unexplained, asked, route_list, route_test
from ipos.config.schema import Pool, Route, Service
from ipos.tables import UrlRow
from tests.agent.running import Running

FARM = (
    Service(name="web", port=80),
    Service(name="images", port=8001),
    Service(name="mail", port=25, select="connection"),
)
ROUTES = [
    Route(service="web", pool="two", path="/img/"),
    Route(service="web", servers=["s1"], host="*.example.org", path="/img/"),
    Route(service="web", servers=["s3"], host="www.example.org", path="=/img/x"),
    Route(service="images", pool="two"),
]
POOLS = [Pool(name="two", servers={"s2": 1, "s3": 3})]


@pytest.fixture
def running() -> Running:
    return Running(*FARM, pool=POOLS, route=ROUTES)


def test_a_url_as_a_request_would_say_it() -> None:
    found = asked("HTTP://WWW.Example.org/a/../%69mg//x?y=/..")
    assert (found.host, found.port, found.path) == ("www.example.org", 80, "/img/x")
    assert asked("https://a").port == 443
    with pytest.raises(Unexplained, match="above the root"):
        asked("http://a/../x")


def test_rules_are_listed_with_what_no_rule_fits(running: Running) -> None:
    assert [tuple(row.values()) for row in route_list(running.view())] == [
        (1, "web", "*", "/img/", [], "two", ["s2", "s3"]),
        (2, "web", "*.example.org", "/img/", [], "s1", ["s1"]),
        (3, "web", "www.example.org", "=/img/x", [], "s3", ["s3"]),
        (None, "web", "*", "/", [], "every server that listens", ["s1", "s2", "s3"]),
        (4, "images", "*", "/", [], "two", ["s2", "s3"]),
        (None, "mail", "*", "/", [], "every server that listens", ["s1", "s2", "s3"]),
    ]


def test_protocols_lead_to_a_rule_and_those_that_lost_are_told() -> None:
    routes = [
        Route(service="web", servers=["s1"]),
        Route(service="web", servers=["s2"], alpn=["h3", "h2"]),
        Route(service="web", servers=["s3"], host="www.example.org", alpn=["h2"]),
    ]
    view = Running(*FARM, pool=POOLS, route=routes).view()
    assert [(row["route"], row["alpn"]) for row in route_list(view) if row["service"] == "web"] == [
        (1, []), (2, ["h2", "h3"]), (3, ["h2"]),
    ]  # fmt: skip
    url, before = "http://www.example.org/img/x", "which the client offers, has a route, and comes"
    found = route_test(view, url, alpn="h3,h2")
    assert (found["rule"], found["servers"]) == ("* alpn h2,h3", ["s2"])
    assert [(one["route"], one["reason"]) for one in found["others"]] == [
        (3, f"h3, {before} before it"), (1, f"h3, {before} before it"),
    ]  # fmt: skip
    found = route_test(view, url, alpn="h2,h3")
    assert found["rule"] == "www.example.org alpn h2"
    assert [(one["route"], one["reason"]) for one in found["others"]] == [
        (1, f"h2, {before} before it"), (2, "its host is less exact"),
    ]  # fmt: skip
    assert route_test(view, url)["route"] == 1


@pytest.mark.parametrize(
    ("url", "route", "pool", "reason", "others"),
    [
        ("http://a/", None, "every server that listens", "no route fits", []),
        ("http://a/img/x", 1, "two", "the only one that fits", []),
        ("http://ftp.example.org/img/x", 2, "s1", "the best of 2 that fit",
         [(1, "its host is less exact")]),
        ("http://www.example.org/img/x", 3, "s3", "the best of 3 that fit",
         [(2, "its path is shorter: 5 of 6"), (1, "its path is shorter: 5 of 6")]),
        ("http://a:25/img/x", None, "every server that listens",
         "it is decided on connection, before anything is said", []),
        ("http://a:8001/img/x", 4, "two", "the only one that fits", []),
    ],
)  # fmt: skip
def test_the_rule_that_a_url_meets(
    running: Running, url: str, route: int | None, pool: str, reason: str,
    others: list[tuple[int, str]],
) -> None:  # fmt: skip
    found = route_test(running.view(), url)
    assert (found["route"], found["pool"], found["reason"]) == (route, pool, reason)
    assert [(one["route"], one["reason"]) for one in found["others"]] == others


def test_a_service_may_be_named(running: Running) -> None:
    found = route_test(running.view(), "http://a/img/x", "images")
    assert (found["service"], found["route"]) == ("images", 4)
    with pytest.raises(Unexplained, match='no service is called "x"; there is web, images, mail'):
        route_test(running.view(), "http://a/", "x")
    with pytest.raises(Unexplained, match="no service has port 81"):
        route_test(running.view(), "http://a:81/")


def test_the_url_map_is_a_table(running: Running) -> None:
    found = [row for row in running.view().table("url") if isinstance(row, UrlRow)]
    web = [(row.url, str(row.server_ip), row.weight) for row in found if row.service == "web"]
    assert web == [
        ("*.example.org/img/", "203.0.113.1", 1),
        ("*/", "203.0.113.1", 1),
        ("*/", "203.0.113.2", 1),
        ("*/", "203.0.113.3", 1),
        ("*/img/", "203.0.113.2", 1),
        ("*/img/", "203.0.113.3", 3),
        ("www.example.org=/img/x", "203.0.113.3", 1),
    ]
    assert all(isinstance(row.server_ip, IPv4Address) for row in found)


def test_an_explanation_goes_by_the_rule(running: Running) -> None:
    found = explain(running.view(), "http://www.example.org/img/%78")
    assert (found.route, found.pool, found.host, found.path) == (3, "s3", "www.example.org",
                                                                 "/img/x")  # fmt: skip
    assert found.rule == (
        "route 3, www.example.org=/img/x, gives it to s3: the best of 3 that fit"
        "; not route 2, *.example.org/img/: its path is shorter: 5 of 6"
        "; not route 1, */img/: its path is shorter: 5 of 6"
    )
    assert [one.server for one in found.decisions] == ["s3"]
    reasons = {one.server: one.reason for one in found.servers}
    assert reasons["s1"] == "is not in pool s3"
