# SPDX-License-Identifier: Apache-2.0
"""Figure 12: no column is missing, every value is checked, JSON says what a reader expects."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from ipaddress import IPv4Address, IPv6Address
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipos.tables import (
    TABLES,
    ApplicationRow,
    CookieRow,
    EndpointRow,
    FlowRow,
    ForwardRow,
    Health,
    ListeningRow,
    NumberRow,
    Row,
    ServerRow,
    ServerState,
    UrlRow,
)
from ipos.wire import ControlFlags

CONNECTION_KEY = ["client_ip", "client_port", "service_ip", "service_port"]
ENDPOINT_COLUMNS = [
    *CONNECTION_KEY,
    *["endpoint_ip", "endpoint_port", "endpoint_reference"],
    *["iss", "options", "state", "next_request_sequence_number"],
]

# name of the table: key, all columns; Flow is ours
FIGURE_12: dict[str, tuple[list[str], list[str]]] = {
    "forward": (
        CONNECTION_KEY,
        [
            *CONNECTION_KEY,
            *["destination_ip", "destination_port"],
            *["acknowledged", "packets", "last_seen"],
        ],
    ),
    "local": (CONNECTION_KEY, ENDPOINT_COLUMNS),
    "forward-connect": (CONNECTION_KEY, ENDPOINT_COLUMNS),
    "temporary": (CONNECTION_KEY, ENDPOINT_COLUMNS),
    "server": (
        ["server_ip"],
        [
            *["server_ip", "tcp_connections", "cpu_utilisation"],
            *["available_memory", "available_bandwidth"],
            *["state", "weight", "age"],
        ],
    ),
    "listening": (
        ["server_ip", "tcp_port"],
        ["server_ip", "tcp_port", "process", "health", "application_port", "container"],
    ),
    "application": (
        ["server", "process_id"],
        ["server", "process_id", "memory_required", "cpu_utilisation", "name"],
    ),
    "url": (["url", "server_ip"], ["url", "server_ip", "service", "weight"]),
    "cookie": (["cookie_id"], ["cookie_id", "server_ip", "expiry"]),
    "flow": (
        CONNECTION_KEY,
        [
            *CONNECTION_KEY,
            *["destination_ip", "destination_port"],
            *["state", "kept", "packets", "last_seen"],
        ],
    ),
    "number": (
        ["service_port", "server"],
        ["service_port", "server", "number", "first_byte"],
    ),
}

CONNECTION: dict[str, Any] = {
    "client_ip": IPv4Address("10.99.0.7"),
    "client_port": 40001,
    "service_ip": IPv4Address("203.0.113.1"),
    "service_port": 80,
}

FORWARD = ForwardRow(
    **CONNECTION,
    destination_ip=IPv4Address("203.0.113.2"),
    destination_port=8080,
    acknowledged=True,
    packets=12,
    last_seen=1_700_000_000.25,
)
ENDPOINT = EndpointRow(
    **CONNECTION,
    endpoint_ip=IPv4Address("203.0.113.2"),
    endpoint_port=8080,
    endpoint_reference=4711,
    iss=0xFFFF_FFFF,
    options=ControlFlags.SACK | ControlFlags.TIMESTAMPS,
    state="attached",
    next_request_sequence_number=0xFFFF_FFFE,
)
SERVER = ServerRow(
    server_ip=IPv4Address("203.0.113.1"),
    tcp_connections=3,
    cpu_utilisation=0.125,
    available_memory=8 << 30,
    available_bandwidth=10_000_000_000,
    state=ServerState.READY,
    weight=1,
    age=0.1,
)
LISTENING = ListeningRow(
    server_ip=IPv4Address("203.0.113.1"),
    tcp_port=80,
    process=815,
    health=Health.UP,
    application_port=8080,
)
APPLICATION = ApplicationRow(
    process_id=815, memory_required=64 << 20, cpu_utilisation=0.5, name="nginx", server="s1"
)
URL = UrlRow(
    url="*.example.org/img/", server_ip=IPv4Address("203.0.113.3"), service="web", weight=3
)
COOKIE = CookieRow(cookie_id="IPOS=s2", server_ip=IPv4Address("203.0.113.2"), expiry=1.8e9)

FLOW = FlowRow(
    **CONNECTION,
    destination_ip=IPv4Address("203.0.113.2"),
    destination_port=53,
    state="answered",
    kept=True,
    packets=12,
    last_seen=1_700_000_000.25,
)

NUMBER = NumberRow(service_port=443, server="s2", number="0002", first_byte=1)

EXAMPLES: list[Row] = [
    *(FORWARD, ENDPOINT, SERVER, LISTENING, APPLICATION, URL, COOKIE, FLOW, NUMBER)
]


def test_the_tables_are_the_figures() -> None:
    assert list(TABLES) == list(FIGURE_12)


@pytest.mark.parametrize("name", FIGURE_12)
def test_columns_and_key(name: str) -> None:
    key, columns = FIGURE_12[name]
    assert list(TABLES[name].columns()) == columns
    assert list(TABLES[name].KEY) == key


def test_every_row_class_has_an_example_here() -> None:
    assert {type(row) for row in EXAMPLES} == set(TABLES.values())


@pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: type(row).__name__)
def test_json_has_the_columns_in_order_and_survives_a_dump(row: Row) -> None:
    as_json = row.as_json()
    assert tuple(as_json) == row.columns()
    assert json.loads(json.dumps(as_json, allow_nan=False)) == as_json


def test_json_of_a_forward_row() -> None:
    assert FORWARD.as_json() == {
        "client_ip": "10.99.0.7",
        "client_port": 40001,
        "service_ip": "203.0.113.1",
        "service_port": 80,
        "destination_ip": "203.0.113.2",
        "destination_port": 8080,
        "acknowledged": True,
        "packets": 12,
        "last_seen": 1_700_000_000.25,
    }


def test_json_of_what_is_no_number_or_text() -> None:
    as_json = ENDPOINT.as_json()
    assert as_json["options"] == ["sack", "timestamps"]
    assert as_json["next_request_sequence_number"] == 0xFFFF_FFFE
    assert replace(ENDPOINT, options=ControlFlags.NONE).as_json()["options"] == []
    assert type(SERVER.as_json()["state"]) is str
    assert SERVER.as_json()["state"] == "ready"
    assert LISTENING.as_json()["health"] == "up"


def test_no_column_of_a_connection_is_ever_null() -> None:
    for kind in (ForwardRow, EndpointRow, ServerRow, ApplicationRow, UrlRow, CookieRow):
        notes = [str(field.type) for field in fields(kind)]
        assert not [note for note in notes if "None" in note], kind


def test_keys() -> None:
    assert FORWARD.key == (IPv4Address("10.99.0.7"), 40001, IPv4Address("203.0.113.1"), 80)
    assert URL.key == ("*.example.org/img/", IPv4Address("203.0.113.3"))


def test_rows_are_ipv6_too() -> None:
    row = replace(
        FORWARD, client_ip=IPv6Address("2001:db8::7"), service_ip=IPv6Address("2001:db8::1")
    )
    assert row.as_json()["client_ip"] == "2001:db8::7"


IMPOSSIBLE: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: replace(FORWARD, client_port=65536),
        "ForwardRow.client_port must be 0 to 65535, not 65536",
    ),
    (
        lambda: replace(FORWARD, client_ip="10.99.0.7"),  # type: ignore[arg-type]
        "ForwardRow.client_ip must be IPv4Address or IPv6Address, not '10.99.0.7'",
    ),
    (
        lambda: replace(FORWARD, client_ip=IPv6Address("2001:db8::7")),
        "client 2001:db8::7 and service 203.0.113.1 are of different address families",
    ),
    (
        lambda: replace(FORWARD, acknowledged=1),  # type: ignore[arg-type]
        "ForwardRow.acknowledged must be bool, not 1",
    ),
    (lambda: replace(FORWARD, packets=True), "ForwardRow.packets must be int, not True"),
    (lambda: replace(FORWARD, last_seen=nan), "ForwardRow.last_seen must be 0.0 to 9"),
    (lambda: replace(FORWARD, last_seen=inf), "ForwardRow.last_seen must be 0.0 to 9"),
    (lambda: replace(ENDPOINT, iss=1 << 32), "EndpointRow.iss must be 0 to 4294967295"),
    (lambda: replace(ENDPOINT, state=""), "EndpointRow.state must not be empty"),
    (
        lambda: replace(ENDPOINT, next_request_sequence_number=None),  # type: ignore[arg-type]
        "EndpointRow.next_request_sequence_number must be int, not None",
    ),
    (
        lambda: replace(ENDPOINT, next_request_sequence_number=-1),
        "EndpointRow.next_request_sequence_number must be 0 to 4294967295, not -1",
    ),
    (lambda: replace(SERVER, cpu_utilisation=1.5), "ServerRow.cpu_utilisation must be 0.0 to 1.0"),
    (
        lambda: replace(SERVER, state="ready"),  # type: ignore[arg-type]
        "ServerRow.state must be ServerState, not 'ready'",
    ),
    (
        lambda: replace(LISTENING, process=0),
        "ListeningRow.process must be 1 to 2147483647, not 0",
    ),
    (lambda: replace(APPLICATION, name=""), "ApplicationRow.name must not be empty"),
]


@pytest.mark.parametrize(
    ("make", "sentence"), IMPOSSIBLE, ids=[sentence for _, sentence in IMPOSSIBLE]
)
def test_impossible_values(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert sentence in str(caught.value)


def test_whole_numbers_will_do_for_fractions() -> None:
    assert replace(SERVER, cpu_utilisation=1, age=0).cpu_utilisation == 1


def test_rows_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        SERVER.weight = 2  # type: ignore[misc]


ports = st.integers(0, 0xFFFF)
any_count = st.integers(0, 0xFFFF_FFFF_FFFF_FFFF)
v4 = st.ip_addresses(v=4)


@given(
    st.builds(
        ForwardRow,
        client_ip=v4,
        client_port=ports,
        service_ip=v4,
        service_port=ports,
        destination_ip=v4,
        destination_port=ports,
        acknowledged=st.booleans(),
        packets=any_count,
        last_seen=st.floats(0, 1 << 53),
    )
)
def test_json_loses_nothing(row: ForwardRow) -> None:
    read: dict[str, Any] = json.loads(json.dumps(row.as_json()))
    for name in ("client_ip", "service_ip", "destination_ip"):
        read[name] = IPv4Address(read[name])
    assert ForwardRow(**read) == row
