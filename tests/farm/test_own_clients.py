# SPDX-License-Identifier: Apache-2.0
"""Programs on the servers themselves as clients of the farm: the same choice as for any client.

The machine filters strictly by reverse path, as some distributions do.
"""

import os
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from ipos.agent.network import own_pair
from ipos.agent.network.rtnetlink import RtNetlink
from ipos.lab import Lab, Settings, agents, cgroups
from ipos.lab.plan import SWITCH
from tests.farm.wire import packet_socket
from tests.support.farm import SERVERS, Answer, Farm, read_answer, request, wait_until

pytestmark = pytest.mark.farm

ANY, ROUTED, EACH, KEPT, GREETING = 80, 81, 82, 83, 25
CONFIG = f"""\
[farm]
own_programs = "farm"

[[service]]
name = "web"
port = {ANY}

[[service]]
name = "routed"
port = {ROUTED}

[[service]]
name = "each"
port = {EACH}
decide = "request"

[[service]]
name = "kept"
port = {KEPT}
session = {{ kind = "insert" }}

[[service]]
name = "greeting"
port = {GREETING}
select = "connection"
""" + "".join(
    f'[[route]]\nservice = "{service}"\nhost = "{server}.example"\nservers = ["{server}"]\n'
    for service in ("routed", "each")
    for server in SERVERS
)
BULK = 3_000_000


@pytest.fixture(scope="module")
def whole() -> Iterator[Farm]:
    with Lab(Settings(name=f"oc{os.getpid()}", config=CONFIG)) as lab:
        farm = Farm(lab)
        for server in SERVERS:
            farm.run(server, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter")
        yield farm


@pytest.fixture
def farm(whole: Farm) -> Iterator[Farm]:
    """With nothing lost, dropped or left behind in the end."""
    whole.wait_idle()
    before = whole.all_counters()
    yield whole
    whole.wait_idle()
    after = whole.all_counters()
    for server in SERVERS:
        for name in ("drop_back_direct", "drop_loop", "drop_emit", "own_program_refused"):
            assert after[server][name] == before[server][name], (server, name)


def call(farm: Farm, program: str, port: int, address: str) -> socket.socket:
    """A connection of a program on a server."""
    return farm.connect(port, address, farm.unconnected(program))


def asked(host: str, path: str = "/", *headers: str, close: bool = True) -> bytes:
    return request(path, *headers, close=close).replace(b"farm.example", host.encode())


def get(farm: Farm, program: str, port: int, address: str, *request_of: str) -> Answer:
    with call(farm, program, port, address) as connection:
        connection.sendall(asked(*request_of))
        return read_answer(connection)


def test_a_route_leads_a_program_where_it_leads_a_client(farm: Farm) -> None:
    for program in SERVERS:
        for address in SERVERS:
            for owner in SERVERS:
                answer = get(farm, program, ROUTED, address, f"{owner}.example")
                assert answer.served_by == owner
                assert answer.headers["x-client"] == farm.address(program)


def test_each_request_of_a_connection_goes_its_way(farm: Farm) -> None:
    for program in ("s1", "s3"):
        with call(farm, program, EACH, "s2") as connection:
            for owner in ("s1", "s2", "s3", "s1", "s1", "s3"):
                connection.sendall(asked(f"{owner}.example", close=False))
                assert read_answer(connection).served_by == owner


def test_nothing_is_asked_where_the_application_speaks_first(farm: Farm) -> None:
    greeted = set()
    for _ in range(12):
        with call(farm, "s2", GREETING, "s3") as connection:
            greeted.add(connection.recv(100).split()[1].decode())
    assert len(greeted) > 1


@pytest.mark.parametrize("owner", SERVERS)
def test_bulk_in_both_directions(farm: Farm, owner: str) -> None:
    """More than any window, by large packets of both kernels."""
    body = os.urandom(BULK)
    head = asked(f"{owner}.example", "/echo", f"Content-Length: {BULK}")
    for program in ("s1", "s2"):
        answer = get(farm, program, ROUTED, "s1", f"{owner}.example", f"/bytes/{BULK}")
        assert len(answer.body) == BULK
        with call(farm, program, ROUTED, "s1") as connection:
            connection.sendall(head.replace(b"GET", b"POST") + body)
            said = read_answer(connection)
        assert (said.status, said.served_by) == (200, owner)


def test_a_session_is_kept(farm: Farm) -> None:
    first = get(farm, "s1", KEPT, "s1", "any.example")
    cookie = first.headers["set-cookie"].split(";")[0]
    for address in SERVERS:
        for program in SERVERS:
            again = get(farm, program, KEPT, address, "any.example", "/", f"Cookie: {cookie}")
            assert again.served_by == first.served_by


def test_what_the_inic_answers_itself_reaches_a_program(farm: Farm) -> None:
    for program in ("s1", "s2"):
        with call(farm, program, ROUTED, "s1") as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 400")
        with call(farm, program, ROUTED, "s3") as connection:
            for piece in (b"GET / HTTP/1.1\r\nHo", b"st: s3.exa", b"mple\r\n\r\n"):
                connection.sendall(piece)
                wait_until("it is acknowledged", lambda: not unsent(connection))
            assert read_answer(connection).served_by == "s3"


def unsent(connection: socket.socket) -> int:
    """Bytes that the other side has not acknowledged (SIOCOUTQ)."""
    import fcntl

    return int.from_bytes(fcntl.ioctl(connection, 0x5411, bytes(4)), "little")


def test_loopback_means_this_server(farm: Farm) -> None:
    client = farm.unconnected("s2")
    client.bind(("127.0.0.1", 0))
    with farm.connect(ANY, "s3", client) as connection:
        connection.sendall(asked("any.example"))
        assert read_answer(connection).served_by == "s2"


def test_no_neighbour_calls_in_the_name_of_a_server(farm: Farm) -> None:
    """It could answer the SYN-ACK, which goes to its own MAC address."""
    to = farm.lab.nodes["s1"].interface("front").mac
    before = farm.counters("s1")
    with packet_socket(farm, SWITCH, "s1-front") as out:
        for name in SERVERS:
            packet = IP(src=farm.address(name), dst=farm.address("s1"))
            out.send(bytes(Ether(dst=to) / packet / TCP(sport=40_000, dport=ANY, flags="S")))

    def dropped() -> int:
        return farm.counters("s1")["drop_own_address"] - before["drop_own_address"]

    wait_until("all are dropped", lambda: dropped() == len(SERVERS))
    assert farm.counters("s1")["syn_ack"] == before["syn_ack"]


def test_agents_come_and_go_and_a_file_changes(farm: Farm) -> None:
    place = farm.lab.place("s2")
    cgroups.kill(place.agent_cgroup)
    assert get(farm, "s2", ROUTED, "s2", "s3.example").served_by == "s3"
    agents.start([place])
    assert get(farm, "s2", ROUTED, "s2", "s3.example").served_by == "s3"
    text = place.config_file.read_text()
    place.config_file.write_text(text.replace('"farm"', '"local"'))
    farm.run("s2", "ipos", "reload")
    assert get(farm, "s2", ROUTED, "s3", "s3.example").served_by == "s2"
    place.config_file.write_text(text)
    farm.run("s2", "ipos", "reload")
    assert get(farm, "s2", ROUTED, "s3", "s3.example").served_by == "s3"


def test_detach_takes_it_all_back(whole: Farm) -> None:
    """The last: s3 is no server any more."""
    farm = whole
    cgroups.end(farm.lab.place("s3").agent_cgroup)
    farm.run("s3", "ipos", "detach")
    with farm.inside("s3"):
        assert own_pair.indices() == (0, 0)
        with RtNetlink() as netlink:
            assert netlink.marked_routes() == []
    for interface in ("front", "back"):
        setting = f"/proc/sys/net/ipv4/conf/{interface}/accept_local"
        assert farm.run("s3", "cat", setting) == "0\n"
    assert IPv4Address(farm.address("s3")) in _addresses(farm)
    assert get(farm, "s3", ANY, "s3", "any.example").served_by == "s3"


def _addresses(farm: Farm) -> set[IPv4Address]:
    with farm.inside("s3"), RtNetlink() as netlink:
        return {ip for ip, _ in netlink.addresses(socket.if_nametoindex("front"))}
