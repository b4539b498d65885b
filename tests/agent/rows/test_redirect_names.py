# SPDX-License-Identifier: Apache-2.0
"""Servers' own names: written with the servers, gone with them, told by `explain`."""

from typing import Literal

import pytest

from ipos.abi import rows
from ipos.abi.layout import constant
from ipos.agent.rows.redirect_names import name_rows, own_names, own_places
from ipos.agent.view.explanation import explain
from ipos.config.schema import Service, Session
from tests.agent.made_up_farm import NOW_NS, WALL_MS, back, datagram, members
from tests.agent.running import Running

NAMED = Session(kind="redirect", name="WWW-{server}.example.org")
FARM = (Service(name="plain", port=81), Service(name="web", port=8080, session=NAMED))


@pytest.fixture
def running() -> Running:
    return Running(*FARM)


def test_every_server_has_a_name_where_sessions_go_by_it(running: Running) -> None:
    names = {index: f"www-s{index}.example.org" for index in (1, 2, 3)}
    assert own_names(running.tables, 1) == names
    assert own_names(running.tables, 0) == {}
    row = running.tables.redirects.get(rows.RedirectKey(1, 2))
    assert row is not None
    assert row.start[: row.length].endswith(b"Location: http://www-s2.example.org:8080")
    assert not row.start[row.length :].strip(b"\0")


def test_the_longest_names_fit() -> None:
    template = "{server}." + ".".join(["a" * 31, "b" * 31])
    assert len(template) == 72
    session = Session(kind="redirect", name=template, scheme="https", port=65535)
    service = Service(name="web", port=80, session=session)
    farm = members()
    member = farm.receive(datagram(2, server="s" * 32), int(back(2)), NOW_NS, WALL_MS)
    assert member is not None
    names, redirects = name_rows([(0, service)], [member])
    ((key, _),) = names.items()
    assert len(key.host.rstrip(b"\0")) == constant("IPOS_NAME_MAX")
    (start,) = redirects.values()
    assert start.length <= constant("IPOS_REDIRECT_MAX") == len(start.start)


@pytest.mark.parametrize(
    ("scheme", "port", "service_port", "place"),
    [
        ("http", None, 80, "http://s1.org"),
        ("http", None, 8080, "http://s1.org:8080"),
        ("http", 80, 8080, "http://s1.org"),
        ("https", None, 8080, "https://s1.org"),
        ("https", 443, 80, "https://s1.org"),
        ("https", 80, 80, "https://s1.org:80"),
        ("https", 8443, 80, "https://s1.org:8443"),
    ],
)
def test_where_clients_are_sent(
    scheme: Literal["http", "https"], port: int | None, service_port: int, place: str
) -> None:
    session = Session(kind="redirect", name="{server}.org", scheme=scheme, port=port)
    running = Running(Service(name="web", port=service_port, session=session))
    assert own_places(running.tables, 0)[1] == place
    told = explain(running.view(), f"http://shop.example:{service_port}/").notes[1]
    assert f"s1 by {place}, " in told


def test_explain_names_who_has_it(running: Running) -> None:
    found = explain(running.view(), "http://www-S2.example.org:8080/")
    (only,) = found.decisions
    why = "its host: www-s2.example.org is the server's own name"
    assert (only.server, only.share, only.reason) == ("s2", 1.0, why)
    assert found.notes == [f"sessions go by name, and this request by {why}"]


def test_explain_says_where_clients_are_sent(running: Running) -> None:
    found = explain(running.view(), "http://shop.example:8080/")
    assert len(found.decisions) > 1
    why, where = found.notes
    assert why == (
        "sessions go by name, and this request by the policy: shop.example is no server's own name"
    )
    assert where == (
        "its client is sent on by a 307 to the server's own name: "
        "s1 by http://www-s1.example.org:8080, s2 by http://www-s2.example.org:8080, "
        "s3 by http://www-s3.example.org:8080"
    )
    (unread,) = explain(running.view(), "http://shop.example:81/").notes
    assert "not read" in unread
