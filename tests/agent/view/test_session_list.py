# SPDX-License-Identifier: Apache-2.0
"""The identified sessions, as `ipos session list` and metrics have them."""

import sys
from ipaddress import IPv4Address, IPv6Address

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ipos.abi import rows
from ipos.agent.view import metrics
from ipos.agent.view.session_list import NoSuchServerHere, session_list
from ipos.agent.view.table_views import VIEWS
from ipos.config.schema import Service, Session
from ipos.selection import identities
from ipos.tables.requests import CookieRow
from tests.agent.made_up_farm import NOW_NS, front
from tests.agent.running import Running

SESSIONS = (
    (b"of s2 2x", front(2), 2, 3 * NOW_NS),
    (b"of s2 1x", front(2), 1, 2 * NOW_NS),
    (b"of s3 1x", front(3), 1, 4 * NOW_NS),
    (b"of s9 1x", front(9), 1, 5 * NOW_NS),
    (b"revoked ", IPv4Address(0), identities.REVOKED, 6 * NOW_NS),
    (b"expired ", front(1), 1, NOW_NS - 1),
    (b"learned ", front(1), 0, 9 * NOW_NS),
)


@pytest.fixture
def running() -> Running:
    made = Running(Service(name="web", port=80, session=Session(kind="identify")))
    for identity, server, turn, expires_ns in SESSIONS:
        key = rows.CookieKey(int.from_bytes(identity, sys.byteorder), 80)
        made.tables.cookies.put(key, rows.Cookie(server, turn, expires_ns))
    return made


def test_every_session_that_lives_is_listed(running: Running) -> None:
    found = session_list(running.view())
    assert [(bytes.fromhex(row["session"]), row["server"], row["moves"]) for row in found] == [
        (b"of s2 1x", "s2", 0), (b"of s2 2x", "s2", 1), (b"of s3 1x", "s3", 0),
        (b"of s9 1x", "-", 0), (b"revoked ", None, 0),
    ]  # fmt: skip
    assert {row["state"] for row in found[:4]} == {"live"}
    assert found[4]["state"] == "revoked"
    assert {(row["service"], row["port"]) for row in found} == {("web", 80)}


def test_a_server_without_an_ipv4_address_goes_by_its_back_address(running: Running) -> None:
    """The data plane calls it so; a farm may have such a server beside others."""
    first, *others = running.snapshot.servers
    six = msgspec.structs.replace(first, addresses=[int(IPv6Address("2001:db8::1"))])
    running.snapshot = msgspec.structs.replace(running.snapshot, servers=[six, *others])
    key = rows.CookieKey(int.from_bytes(b"of s1 6x", sys.byteorder), 80)
    running.tables.cookies.put(key, rows.Cookie(IPv4Address(six.back_ip), 1, 2 * NOW_NS))
    assert [bytes.fromhex(row["session"]) for row in session_list(running.view(), "s1")] == [
        b"of s1 6x"
    ]


def test_those_of_one_server(running: Running) -> None:
    assert len(session_list(running.view(), "s2")) == 2
    assert session_list(running.view(), "s1") == []
    with pytest.raises(NoSuchServerHere, match="no server is called s7; there are s1, s2, s3"):
        session_list(running.view(), "s7")


def _counted(running: Running) -> dict[str, float]:
    text = metrics.text(running.view(), {}).decode()
    families = [one for one in text_string_to_metric_families(text) if one.name == "ipos_sessions"]
    return {sample.labels["server"]: sample.value for one in families for sample in one.samples}


def test_metrics_count_the_sessions_of_each_server(running: Running) -> None:
    assert _counted(running) == {"s1": 0, "s2": 2, "s3": 1, "-": 1}
    assert _counted(Running()) == {}, "no service identifies its sessions"


def test_the_table_names_sessions_as_the_list_does(running: Running) -> None:
    found = VIEWS["cookie"](running.view())
    ids = {row.cookie_id for row in found if isinstance(row, CookieRow)}
    assert {f"{row['session']}:80" for row in session_list(running.view())} < ids
