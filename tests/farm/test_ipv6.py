# SPDX-License-Identifier: Apache-2.0
"""Services of TCP at IPv6 addresses, end to end."""

import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr
from scapy.layers.l2 import Ether

from ipos.kernel import data_plane
from ipos.lab import Lab, Settings, cgroups, faults, pattern
from tests.farm.alternation import in_turn
from tests.farm.wire import capturing
from tests.support.farm import (
    CONFIG,
    ELSEWHERE,
    HERE,
    MAPPED,
    SERVERS,
    SPEAK_FIRST_ELSEWHERE,
    Farm,
    grown,
    read_answer,
    readable,
    request,
    wait_until,
)
from tests.support.hosts import by_host

pytestmark = pytest.mark.farm

CLIENT6 = "2001:db8:63::11"
EACH = 80
LENGTH = 10_000_000
MOVES = CONFIG.replace('name = "web"\nport = 80\n', 'name = "web"\nport = 80\ndecide = "request"\n')
MOVES += by_host(SERVERS)


@pytest.fixture(scope="module")
def _module_farm() -> Iterator[Farm]:
    settings = Settings(name=f"six{os.getpid()}", config=MOVES, ipv6=True)
    with Lab(settings) as lab:
        yield Farm(lab, six=True)


@pytest.fixture
def farm(_module_farm: Farm) -> Iterator[Farm]:
    _module_farm.wait_idle()
    yield _module_farm
    faults.set_loss(_module_farm.lab, 0)


@pytest.mark.parametrize(("port", "server"), [(HERE, "s1"), (ELSEWHERE, "s2"), (MAPPED, "s2")])
def test_a_request_is_answered_here_or_elsewhere_by_the_clients_address(
    farm: Farm, port: int, server: str
) -> None:
    before = farm.counters("s1")
    answer = farm.get(port=port)
    assert (answer.status, answer.served_by) == (200, server)
    assert answer.headers["x-client"] == CLIENT6
    told = grown(before, farm.counters("s1"))
    assert told["served_here" if server == "s1" else "migrated"] == 1
    drops = {name: n for name, n in told.items() if name.startswith("drop_")}
    assert not [name for name in drops if "elsewhere" not in name], told


def test_curl_says_the_same(farm: Farm) -> None:
    url = f"http://[{farm.address('s1')}]:{ELSEWHERE}/"
    told = farm.run("client1", "curl", "-gsi", "--max-time", "10", url)
    assert "X-Served-By: s2" in told
    assert f"X-Client: {CLIENT6}" in told


def test_every_connection_of_many_is_answered_by_who_was_chosen(farm: Farm) -> None:
    served = {farm.get(server=SERVERS[n % 3]).served_by for n in range(60)}
    assert served == set(SERVERS)


def test_a_server_that_speaks_first_greets_the_clients_address(farm: Farm) -> None:
    with farm.connect(SPEAK_FIRST_ELSEWHERE) as connection:
        assert connection.recv(100) == f"220 s2 {CLIENT6}\r\n".encode()
        connection.sendall(b"hello\r\n")
        assert connection.recv(100) == b"hello\r\n"


def test_each_request_of_a_connection_goes_to_its_own_server(farm: Farm) -> None:
    before = {server: farm.counters(server) for server in SERVERS}
    in_turn(farm, 30)
    moved = sum(grown(before[one], farm.counters(one)).get("moved", 0) for one in SERVERS)
    assert moved >= 20


@pytest.mark.parametrize("port", [HERE, ELSEWHERE])
def test_a_download_comes_whole(farm: Farm, port: int) -> None:
    with farm.connect(port) as connection:
        connection.sendall(request(f"/bytes/{LENGTH}"))
        body = read_answer(connection).body
    assert hashlib.sha256(body).hexdigest() == pattern.sha256(LENGTH)


def test_an_upload_comes_whole(farm: Farm) -> None:
    """Its segments cross the back LAN inside ours, so they must fit."""
    body = os.urandom(2_000_000)
    with farm.connect(ELSEWHERE) as connection:
        length = f"Content-Length: {len(body)}"
        connection.sendall(request("/echo", length).replace(b"GET", b"POST", 1) + body)
        answer = read_answer(connection)
    assert json.loads(answer.body)["sha256"] == hashlib.sha256(body).hexdigest()


def test_tables_show_connections_by_ipv6(farm: Farm) -> None:
    with farm.connect(ELSEWHERE) as connection:
        connection.sendall(request(close=False))
        assert read_answer(connection).served_by == "s2"
        (row,) = json.loads(farm.run("s1", "ipos", "table", "forward", "-o", "json"))
        assert (row["client_ip"], row["service_ip"]) == (CLIENT6, farm.address("s1"))
        (row,) = json.loads(farm.run("s2", "ipos", "table", "forward-connect", "-o", "json"))
        assert (row["client_ip"], row["state"]) == (CLIENT6, "attached")
        status = json.loads(farm.run("s2", "ipos", "status", "-o", "json"))
        assert status["connections"]["forward_connect"] == 1
        held = {row["address"]: row["holder"] for row in status["addresses"]}
        assert held[farm.address("s1")] == "s1"
    said = farm.run("s1", "ipos", "explain", f"http://[{farm.address('s1')}]:{ELSEWHERE}/")
    assert "service elsewhere, first server s1" in said


@contextmanager
def _denied(farm: Farm, network: str) -> Iterator[None]:
    """A network is in s1's file; afterwards the file is as it was."""
    file = farm.lab.place("s1").config_file
    before = file.read_text()
    file.write_text(before.replace("[farm]\n", f'[farm]\ndeny = ["{network}"]\n'))
    try:
        farm.run("s1", "ipos", "reload")
        yield
    finally:
        file.write_text(before)
        farm.run("s1", "ipos", "reload")


def test_a_denied_network_is_dropped_until_it_is_let_in_again(farm: Farm) -> None:
    with farm.connect(ELSEWHERE) as open_, farm.unconnected() as fresh:
        open_.sendall(request(close=False))
        assert read_answer(open_).served_by == "s2"
        with _denied(farm, "2001:db8:63::/64"):
            url = f"http://[{farm.address('s1')}]/"
            said = farm.run("s1", "ipos", "explain", url, "--client", CLIENT6)
            assert f"{CLIENT6} is denied" in said
            before = farm.counters("s1")["drop_denied"]
            fresh.setblocking(False)
            assert fresh.connect_ex((farm.address("s1"), ELSEWHERE)) != 0
            open_.sendall(request(close=False))
            wait_until("both are dropped", lambda: farm.counters("s1")["drop_denied"] >= before + 2)
            assert not readable(open_, 0)
        fresh.settimeout(10)
        assert read_answer(open_).served_by == "s2"
        wait_until("let in", lambda: fresh.connect_ex((farm.address("s1"), ELSEWHERE)) in (0, 106))


def test_both_families_are_served_at_once(farm: Farm) -> None:
    four = Farm(farm.lab)
    for server in ("s1", "s2"):
        assert four.get(port=ELSEWHERE, server=server).headers["x-client"] == "10.99.0.11"
        assert farm.get(port=ELSEWHERE, server=server).headers["x-client"] == CLIENT6
    four.wait_idle()


def holders(farm: Farm, address: str) -> list[str]:
    return [server for server in SERVERS if farm.holds(server, address)]


@pytest.mark.alone
def test_an_address_goes_to_another_server_when_its_own_loses_power(farm: Farm) -> None:
    address = farm.address("s1")
    assert farm.get().status == 200  # so that the router knows a neighbour
    with capturing(farm, "router1", "front") as seen:
        faults.cut_power(farm.lab, "s1")
        try:
            others = ("s2", "s3")
            wait_until("taken", lambda: any(farm.holds(one, address) for one in others))
            (holder,) = (one for one in others if farm.holds(one, address))
            answer = farm.get(server="s1")
            assert answer.status == 200
            assert answer.headers["x-client"] == CLIENT6
            mac = farm.lab.nodes[holder].interface("front").mac
            wait_until("announced again", lambda: len(announced(seen.frames, address, mac)) >= 3)
        finally:
            faults.restore_power(farm.lab, "s1")
    wait_until("it has its address back", lambda: holders(farm, address) == ["s1"], 20)
    assert farm.get(server="s1").status == 200


def announced(frames: list[bytes], address: str, mac: str) -> list[Ether]:
    """Unsolicited neighbour advertisements of an address by a MAC address."""
    parsed = [Ether(one) for one in list(frames) if one[12:14] == b"\x86\xdd"]
    return [
        frame
        for frame in parsed
        if ICMPv6ND_NA in frame
        and frame[ICMPv6ND_NA].tgt == address
        and not frame[ICMPv6ND_NA].S
        and ICMPv6NDOptDstLLAddr in frame
        and frame[ICMPv6NDOptDstLLAddr].lladdr == mac
        and frame.src == mac
    ]


DUAL = Path(__file__).parent / "clients" / "dual_stack.py"
PLAIN = '[[service]]\nname = "web"\nport = 80\n'


def test_one_dual_stack_listener_serves_both_families() -> None:
    name = f"dual{os.getpid()}"
    command = f"exec python3 {DUAL} 80"
    with Lab(Settings(name=name, servers=2, config=PLAIN, app=command, ipv6=True)) as lab:
        six, four = Farm(lab, six=True), Farm(lab)
        six.wait_idle()
        for server in ("s1", "s2"):
            assert six.get(server=server).headers["x-client"] == CLIENT6
            assert four.get(server=server).headers["x-client"] == "::ffff:10.99.0.11"


def test_a_farm_without_ipv6_loads_none_until_a_server_lists_an_address() -> None:
    """Also the server that has none itself: it may be given connections."""
    name = f"late{os.getpid()}"
    with Lab(Settings(name=name, servers=2, config=PLAIN, ipv6=True)) as lab:
        files = {server: lab.place(server).config_file for server in ("s1", "s2")}
        whole = {server: file.read_text() for server, file in files.items()}
        farm = Farm(lab, six=True)
        for server, file in files.items():
            file.write_text(whole[server].replace(f', "{farm.address(server)}"', ""))
            assert file.read_text() != whole[server]
        four = Farm(lab)
        for server in files:  # both: one that has an address tells the other
            cgroups.end(lab.place(server).agent_cgroup)
            farm.run(server, "ipos", "detach")
        for server in files:
            lab.start_agent(server)
        assert not any(data_plane.has_six(four.tables[one].directory.parent) for one in files)
        files["s2"].write_text(whole["s2"])
        farm.run("s2", "ipos", "reload")
        for server in files:
            pins = four.tables[server].directory.parent
            wait_until(f"{server} has loaded IPv6", partial(data_plane.has_six, pins), 20)
        served = set()

        def asked() -> bool:
            served.add(farm.get(server="s2").served_by)
            return served == {"s1", "s2"}

        wait_until("both servers answer", asked, 20)


def test_sockets_are_of_ipv6(farm: Farm) -> None:
    with farm.connect() as connection:
        assert connection.family == socket.AF_INET6


def test_the_first_server_hears_of_a_close_by_the_server(farm: Farm) -> None:
    """Its owner tells it by a frame made of a packet whose checksum a NIC is to finish."""
    before = farm.counters("s1")["drop_frame_tag"]
    for _ in range(20):
        with farm.connect(ELSEWHERE) as connection:
            connection.sendall(request(close=True))
            assert read_answer(connection).status == 200
    wait_until("no row is left", lambda: not farm.rows("s1")["forward"])
    assert farm.counters("s1")["drop_frame_tag"] == before
