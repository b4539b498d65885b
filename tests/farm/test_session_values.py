# SPDX-License-Identifier: Apache-2.0
"""What clients see of an inserted session: its value says nothing, and only the farm makes one."""

import secrets
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from ipos.handshake.keys import FarmKeys
from ipos.lab import faults
from ipos.selection.sessions import DAY_S, Value, decode, encode, encode_open
from tests.support.farm import SERVERS, Farm, read_answer, request, wait_until
from tests.support.farm_secret import change, secret_file, steps
from tests.support.shared import farm_with

PORT = 8101
CONFIG = f"""\
[[service]]
name = "insert"
port = {PORT}
policy = "round-robin"
slow_start_ms = 0
session = {{ kind = "insert" }}
"""

pytestmark = pytest.mark.farm


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with farm_with(CONFIG) as made:
        yield made


def ask(farm: Farm, at: str, value: str = "") -> tuple[str, str]:
    """(who answers, the value that the client is given, "" for none)."""
    cookie = [f"Cookie: theme=dark; IPOS={value}"] if value else []
    with farm.connect(PORT, at) as connection:
        connection.sendall(request("/", *cookie))
        answer = read_answer(connection)
    given = answer.headers.get("set-cookie", "")
    return answer.served_by, given.partition(";")[0].removeprefix("IPOS=")


def begin(farm: Farm, count: int) -> dict[str, str]:
    """Sessions of so many clients: each's server, by its value."""
    found = (ask(farm, SERVERS[number % 3]) for number in range(count))
    return {value: server for server, value in found}


def wrong(farm: Farm, sessions: dict[str, str]) -> list[str]:
    """Values whose sessions are at another server now, or that some server exchanges."""
    return [
        value
        for value, server in sessions.items()
        if any(ask(farm, at, value) != (server, "") for at in SERVERS)
    ]


def day_key(farm: Farm) -> tuple[int, bytes]:
    today = int(time.time()) // DAY_S
    secret = secret_file(farm).read_bytes().split(b"\n")[0]
    return today, FarmKeys(secret, farm.lab.name).session(today)


def address(farm: Farm, server: str) -> IPv4Address:
    return IPv4Address(farm.address(server))


def test_only_the_farm_reads_which_server_a_value_names(farm: Farm) -> None:
    sessions = begin(farm, 60)
    assert len(sessions) == 60, "no two clients have the same"
    assert set(sessions.values()) == set(SERVERS)
    today, key = day_key(farm)
    for value, server in sessions.items():
        assert address(farm, server).packed.hex() not in value
        assert decode(value, {today: key}) == Value(today, address(farm, server))
        assert decode(value, {today: key[::-1]}) is None
    for at in range(0, 32, 2):  # the day is behind
        assert len({value[at : at + 2] for value in sessions}) > 30, "a byte is any byte"
    assert wrong(farm, sessions) == []


@pytest.mark.parametrize("at", [0, 7, 15, 16, 31, 39])
def test_an_altered_value_is_nobodys(farm: Farm, at: int) -> None:
    """Each is a client without a cookie: it is given one, by whom it is the turn of."""
    (value,) = begin(farm, 1)
    altered = value[:at] + ("0" if value[at] != "0" else "1") + value[at + 1 :]
    answers = [ask(farm, "s1", altered) for _ in range(9)]
    assert {server for server, _ in answers} == set(SERVERS)
    assert all(len(given) == 40 and given not in (value, altered) for _, given in answers)


def test_a_value_under_another_farms_secret_is_nobodys(farm: Farm) -> None:
    today, _ = day_key(farm)
    foreign = FarmKeys(b"another farm's secret", farm.lab.name).session(today)
    value = encode(Value(today, address(farm, "s2")), foreign, 7)
    answers = [ask(farm, "s1", value) for _ in range(9)]
    assert {server for server, _ in answers} == set(SERVERS)
    assert all(given for _, given in answers)


@pytest.mark.parametrize("server", SERVERS)
def test_a_value_from_before_abi_11_is_exchanged(farm: Farm, server: str) -> None:
    today, key = day_key(farm)
    value = encode_open(Value(today, address(farm, server)), key)
    for at in SERVERS:
        by, given = ask(farm, at, value)
        assert (by, len(given)) == (server, 40)
        assert ask(farm, at, given) == (server, "")


def test_sessions_outlive_agents(farm: Farm) -> None:
    """While all are dead, and when they have begun anew."""
    sessions = begin(farm, 12)
    try:
        for server in SERVERS:
            faults.kill_agent(farm.lab, server)
        assert wrong(farm, sessions) == []
    finally:
        for server in SERVERS:
            farm.lab.start_agent(server)
    wait_until("every server ready", farm.ready, 20)
    assert wrong(farm, sessions) == []


def test_sessions_outlive_a_change_of_the_secret(farm: Farm) -> None:
    """Each client that comes while both are believed goes on; others have lost their sessions."""
    old, new = secret_file(farm).read_bytes().strip(), secrets.token_hex(32).encode()
    sessions, (absent,) = begin(farm, 9), begin(farm, 1)
    try:
        believed, used, over = steps(old, new)
        change(farm, believed)
        assert wrong(farm, sessions) == []
        change(farm, used)
        given = {}
        for value, server in sessions.items():
            by, anew = ask(farm, "s1", value)
            assert (by, len(anew)) == (server, 40)
            given[anew] = server
        assert wrong(farm, given) == []
        change(farm, over)
        assert wrong(farm, given) == []
        answers = [ask(farm, "s1", absent) for _ in range(9)]
        assert {server for server, _ in answers} == set(SERVERS)
        assert all(anew for _, anew in answers)
    finally:
        now = secret_file(farm).read_bytes().split(b"\n")[0]
        for content in steps(now, old) if now != old else (old,):
            change(farm, content)
