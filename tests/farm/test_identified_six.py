# SPDX-License-Identifier: Apache-2.0
"""Identified sessions of clients of both families: one client, one identifier, one server."""

import json
import os
from collections.abc import Iterator

import pytest

from ipos.lab import Lab, Settings
from tests.farm.test_identified import CONFIG, PORT, ask, everything_of, rows
from tests.farm.wire import ETHERTYPE
from tests.support.farm import SERVERS, Farm

pytestmark = pytest.mark.farm


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(Settings(name=f"idsix{os.getpid()}", config=CONFIG, ipv6=True)) as made:
        yield made


def test_a_session_goes_on_over_the_other_family(lab: Lab) -> None:
    four, six = Farm(lab), Farm(lab, six=True)
    found = {}
    for number in range(12):
        farm = (four, six)[number % 2]
        server, value = ask(farm, SERVERS[number % 3])
        assert len(value) == 40
        found[value] = server
        for at in SERVERS:
            assert rows(four, at)[value[:16]] == four.address(server)
    assert len({value[:16] for value in found}) == 12
    for value, server in found.items():
        for farm in (four, six):
            for at in SERVERS:
                assert ask(farm, at, value) == (server, "")
    six.wait_idle()
    four.wait_idle()


def test_all_servers_hear_of_it_before_the_answer_leaves(lab: Lab) -> None:
    six = Farm(lab, six=True)
    with everything_of(six, "s2") as sent:
        server, value = "", ""
        while server != "s2":
            server, value = ask(six, "s2")
    told = [
        number
        for number, (_, frame) in enumerate(sent)
        if frame[12:14] == ETHERTYPE and frame[46:54] == bytes.fromhex(value[:16])
    ]
    answered = [number for number, (_, frame) in enumerate(sent) if value.encode() in frame]
    assert len(told) == 1
    assert told[0] < answered[0]


def test_every_servers_table_shows_them(lab: Lab) -> None:
    """Two clients of one server have two rows of it, at all servers."""
    six = Farm(lab, six=True)
    found: dict[str, list[str]] = {}
    while not any(len(values) == 2 for values in found.values()):
        server, value = ask(six, "s1")
        found.setdefault(server, []).append(value[:16])
    server, both = next((name, values) for name, values in found.items() if len(values) == 2)
    assert len(set(both)) == 2
    for at in SERVERS:
        table = json.loads(six.run(at, "ipos", "table", "cookie", "-o", "json"))
        known = {row["cookie_id"]: row["server_ip"] for row in table}
        for identity in both:
            assert known[f"{identity}:{PORT}"] == Farm(lab).address(server)
