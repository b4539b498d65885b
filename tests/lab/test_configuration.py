# SPDX-License-Identifier: Apache-2.0
"""The configuration file that the lab writes for each server."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipos.lab import configuration
from ipos.lab.applications import listening
from ipos.lab.errors import LabError
from ipos.lab.plan import Settings, nodes

_SECRET = Path("/run/ipos/lab/t/farm.key")


def _file(common: str | None, topology: str = "single") -> dict:
    hosts = nodes(Settings(name="t", topology=topology))
    servers = [hosts["s1"], hosts["s2"], hosts["s3"]]
    parsed = configuration.parse_common(common)
    return tomllib.loads(configuration.server_file(parsed, "t", servers[1], servers, _SECRET))


def test_the_default_file_is_one_a_user_could_have_written() -> None:
    assert _file(None) == {
        "farm": {
            "name": "t",
            "secret_file": str(_SECRET),
            "members": ["10.77.0.1", "10.77.0.2", "10.77.0.3"],
            "authenticate": True,
        },
        "server": {
            "name": "s2",
            "front": "front",
            "back": "back",
            "addresses": ["203.0.113.2"],
        },
        "service": [
            {"name": "web", "port": 80},
            {"name": "greeting", "port": 25, "select": "connection"},
        ],
    }


def test_where_routers_are_told_all_servers_have_one_more_address() -> None:
    hosts = nodes(Settings(name="t", topology="ecmp"))
    common = configuration.parse_common(None)
    text = configuration.server_file(
        common, "t", hosts["s2"], [hosts["s2"]], _SECRET, Path("/run/b.ctl")
    )
    found = tomllib.loads(text)
    assert found["farm"]["announce"] == "bgp"
    assert found["server"]["addresses"] == ["203.0.113.2", "198.51.100.1"]
    command = ["birdc", "-s", "/run/b.ctl", "configure"]
    assert found["agent"] == {"announce_command": command}


def test_on_one_lan_back_is_front() -> None:
    assert _file(None, topology="one-lan")["server"]["back"] == "front"


def test_on_two_isps_a_server_has_an_address_of_each() -> None:
    found = _file(None, topology="dual-isp")
    assert found["server"]["front"] == "front"
    assert found["server"]["addresses"] == ["203.0.113.2", "192.0.2.2"]
    assert [(one["gateway"], one["interface"]) for one in found["uplink"]] == [
        ("203.0.113.254", "front"), ("192.0.2.254", "front2"),
    ]  # fmt: skip


def test_an_owner_that_answers_by_its_own_router_is_on_one() -> None:
    found = _file('[farm]\nreturn = "owner"\n', topology="dual-isp")
    assert (found["server"]["front"], found["server"]["addresses"]) == ("front2", ["192.0.2.2"])
    assert [one.get("interface") for one in found["uplink"]] == [None, "front2"]


def test_the_users_parts_are_kept_and_the_labs_own_put_over_them() -> None:
    common = """
        [farm]
        name = "shop"
        idle_s = 60
        limits = { forward = 10 }
        [[service]]
        name = "web"
        port = 80
        session = { kind = "insert", cookie = "IPOS" }
        [[pool]]
        name = "images"
        servers = { s2 = 1, s3 = 3 }
        [[route]]
        service = "web"
        host = "*.example.org"
        pool = "images"
    """
    written, given_parts = _file(common), tomllib.loads(common)
    for part in ("service", "pool", "route"):
        assert written[part] == given_parts[part]
    assert written["farm"]["name"] == "t"
    assert written["farm"]["idle_s"] == 60
    assert written["farm"]["limits"] == {"forward": 10}


_names = st.text(min_size=1, max_size=8)
_scalars = st.text(max_size=12) | st.booleans() | st.integers(-(2**62), 2**62)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=6,
)
_encodable = st.dictionaries(_names, st.dictionaries(_names, _values, max_size=3), max_size=3)


@given(_encodable)
def test_toml_reads_back_as_it_was(document: dict) -> None:
    assert tomllib.loads(configuration.to_toml(document)) == document


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("port = ", "not TOML"),
        ("[server]\nname = 's1'", r"\[server\]"),
        ("[[service]]\nname = 'web'", "'web'"),
        ("[[service]]\nname = 'web'\nport = 70000", "70000"),
    ],
)
def test_a_fault_in_the_file_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(LabError, match=says):
        configuration.services(configuration.parse_common(text))


def _listening(text: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    where = listening(configuration.services(configuration.parse_common(text)))
    return where.http, where.speak_first


def test_every_service_gets_an_application() -> None:
    assert _listening(None) == (("0.0.0.0:80", "127.0.0.1:8080"), ("0.0.0.0:25",))
    http, speak_first = _listening(
        """
        service = [
            { port = 80, application = "127.0.0.1:9090" },
            { port = 2525, select = "connection" },
            { port = 53, protocol = "udp" },
        ]
        """
    )
    assert http == ("127.0.0.1:9090", "0.0.0.0:80", "127.0.0.1:8080")
    assert speak_first == ("0.0.0.0:2525", "0.0.0.0:25")


def test_an_address_is_not_bound_twice() -> None:
    assert _listening("[[service]]\nport = 8080") == (
        ("0.0.0.0:8080", "0.0.0.0:80"),
        ("0.0.0.0:25",),
    )
