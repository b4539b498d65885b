# SPDX-License-Identifier: Apache-2.0
"""A busy client: wrk, one connection per request and kept alive, ports reused, no error."""

import re
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.support.farm import ANY, ELSEWHERE, SERVERS, Farm, grown, request

pytestmark = pytest.mark.farm

FEW_PORTS = "20000 20999"
_RANGE = "net.ipv4.ip_local_port_range"
_CLOSING = "net.ipv4.tcp_max_tw_buckets"


@dataclass(frozen=True, slots=True)
class Result:
    """What wrk says. errors: its lines about socket errors and answers that are not 2xx."""

    requests: int
    errors: list[str]


def wrk(farm: Farm, seconds: int, connections: int, *options: str, port: int = ANY) -> Result:
    """wrk in client1, against s1."""
    url = f"http://{farm.address('s1')}:{port}/"
    command = ["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", *options, url]
    output = farm.run("client1", *command, timeout_s=seconds + 60)
    found = re.search(r"(\d+) requests in", output)
    assert found, output
    errors = [line.strip() for line in output.splitlines() if "rrors" in line or "Non-2xx" in line]
    return Result(int(found[1]), errors)


@pytest.fixture
def few_ports(farm: Farm) -> Iterator[None]:
    """The client has so few ports that it uses each of them many times.

    wrk closes when it has the answer. Where nginx is late with its FIN, the client is the first to
    close and would keep the port for a minute, until it has none left.
    """
    before = farm.run("client1", "sysctl", _RANGE, _CLOSING).splitlines()
    farm.run("client1", "sysctl", "-qw", f"{_RANGE}={FEW_PORTS}", f"{_CLOSING}=0")
    yield
    farm.run("client1", "sysctl", "-qw", *(line.replace(" = ", "=") for line in before))


def _sound(farm: Farm, before: dict[str, dict[str, int]]) -> None:
    """Nobody was turned away, and nothing is left over. A server may have said no to another."""
    farm.wait_idle()
    for server, counters in farm.all_counters().items():
        changed = grown(before[server], counters)
        bad = {"drop_no_server", "drop_table_full", "rst_sent"}
        assert not bad & set(changed), (server, changed)


CLOSE = ("-H", "Connection: close")


@pytest.mark.usefixtures("few_ports")
@pytest.mark.parametrize("port", [ANY, ELSEWHERE])
def test_a_connection_for_each_request(farm: Farm, port: int) -> None:
    """So many that each port is used several times."""
    before = farm.all_counters()
    left = 3000
    while left > 0:
        result = wrk(farm, 3, 16, *CLOSE, port=port)
        assert result.errors == []
        assert result.requests
        left -= result.requests
    _sound(farm, before)


@pytest.mark.parametrize("port", [ANY, ELSEWHERE])
def test_connections_kept_alive(farm: Farm, port: int) -> None:
    before = farm.all_counters()
    result = wrk(farm, 3, 32, port=port)
    assert result.errors == []
    _sound(farm, before)


@pytest.mark.slow
@pytest.mark.usefixtures("few_ports")
def test_100000_connections_from_one_address(farm: Farm) -> None:
    before = farm.all_counters()
    left = 100_000
    while left > 0:
        result = wrk(farm, 10, 32, *CLOSE)
        assert result.errors == []
        left -= result.requests
    _sound(farm, before)
    total = sum(farm.counters(s)["adopted"] - before[s]["adopted"] for s in SERVERS)
    assert total >= 100_000


@pytest.mark.slow
def test_100000_requests_kept_alive(farm: Farm) -> None:
    before = farm.all_counters()
    left = 100_000
    while left > 0:
        result = wrk(farm, 10, 64)
        assert result.errors == []
        left -= result.requests
    _sound(farm, before)


def test_clients_that_reset_in_mid_stream_leave_no_rows(farm: Farm) -> None:
    """A process often has the socket then, and TCP takes the bytes and the reset later."""

    def one(number: int) -> None:
        with farm.connect(ANY, SERVERS[number % 3]) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
            connection.sendall(request("/bytes/200000", close=False))
            connection.recv(1000)
            if number % 2:
                connection.sendall(request(close=False))

    with ThreadPoolExecutor(24) as clients:
        list(clients.map(one, range(1500)))
    farm.wait_idle()
