# SPDX-License-Identifier: Apache-2.0
"""Applications in containers: network namespaces behind pairs of interfaces, as CNI builds them.

With IPOS_TESTS_BOXED=1 most other farm tests run with such applications, too.
"""

import hashlib
import json
import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from ipos.kernel import box_hooks
from ipos.kernel.libbpf import syscall
from ipos.kernel.pins import directory_name
from ipos.lab import Lab, Settings, cgroups, faults, pattern
from ipos.lab.boxed import PORT as WIRE
from tests.support.farm import (
    CLIENT,
    SERVERS,
    SPEAK_FIRST,
    Farm,
    is_reset,
    read_answer,
    request,
    wait_until,
)

pytestmark = pytest.mark.farm

ALONE, STICKY, CHECKED = 8001, 8101, 8104
_GREETINGS = 200
"""At most: on a busy machine, a server that looks loaded gets none for a while."""
CONFIG = f"""\
[[service]]
name = "web"
port = 80
decide = "request"
slow_start_ms = 0

[[service]]
name = "greeting"
port = {SPEAK_FIRST}
select = "connection"

[[service]]
name = "alone"
port = {ALONE}
slow_start_ms = 0

[[service]]
name = "sticky"
port = {STICKY}
slow_start_ms = 0
session = {{ kind = "insert" }}

[[service]]
name = "checked"
port = {CHECKED}
slow_start_ms = 0
check = {{ http = "/" }}

[[pool]]
name = "only-s2"
servers = {{ s2 = 1 }}

[[route]]
service = "alone"
pool = "only-s2"
"""
LENGTH = 20_000_000
SOON_S = 3.0


@pytest.fixture(scope="module")
def _module_farm() -> Iterator[Farm]:
    with Lab(Settings(name=f"bx{os.getpid()}", config=CONFIG, boxed=True)) as lab:
        yield Farm(lab)


@pytest.fixture
def farm(_module_farm: Farm) -> Farm:
    _module_farm.wait_idle()
    _wait_all_serve(_module_farm)
    return _module_farm


def _listening(farm: Farm, asked: str = "s1") -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(
        farm.run(asked, "ipos", "table", "listening", "-o", "json")
    )
    return rows


def _serving(farm: Farm, port: int) -> set[object]:
    """The addresses of the servers whose application is well, as s1 knows them."""
    return {
        row["server_ip"]
        for row in _listening(farm)
        if row["tcp_port"] == port and row["health"] == "up"
    }


def _wait_all_serve(farm: Farm, port: int = 80) -> None:
    wait_until("every container serves", lambda: len(_serving(farm, port)) == len(SERVERS))


def _pins(farm: Farm, server: str) -> Path:
    return farm.lab.place(server).pin_dir / directory_name(farm.lab.name, server)


def _wire(farm: Farm, server: str) -> int:
    """Our end of the wire to the container."""
    with farm.inside(server):
        return socket.if_nametoindex(WIRE)


def test_requests_are_spread_and_applications_see_the_client(farm: Farm) -> None:
    answers = [farm.get(server=SERVERS[nth % 3]) for nth in range(60)]
    assert {answer.served_by for answer in answers} == set(SERVERS)
    assert {answer.headers["x-client"] for answer in answers} == {CLIENT}


def test_a_server_that_speaks_first(farm: Farm) -> None:
    greeted = Counter[str]()
    for nth in range(_GREETINGS):
        with farm.connect(SPEAK_FIRST, SERVERS[nth % 3]) as connection:
            _, name, client = connection.recv(100).decode().split()
            connection.sendall(b"hello\n")
            assert connection.recv(100) == b"hello\n"
        greeted[name] += 1
        assert client == CLIENT
        if set(greeted) == set(SERVERS):
            return
    pytest.fail(f"one server has not spoken: {greeted}")


@pytest.mark.parametrize("server", ["s1", "s2"])
def test_downloads_are_whole(farm: Farm, server: str) -> None:
    with farm.connect(ALONE, server) as connection:
        connection.sendall(request(f"/bytes/{LENGTH}", close=False))
        answer = read_answer(connection)
    assert answer.served_by == "s2"
    assert hashlib.sha256(answer.body).hexdigest() == pattern.sha256(LENGTH)


@pytest.mark.parametrize("server", ["s1", "s2"])
def test_uploads_are_whole(farm: Farm, server: str) -> None:
    with farm.connect(ALONE, server) as connection:
        head = f"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {LENGTH}\r\n\r\n"
        connection.sendall(head.encode())
        for piece in pattern.chunks(LENGTH):
            connection.sendall(piece)
        answer = read_answer(connection)
    assert json.loads(answer.body) == {"length": LENGTH, "sha256": pattern.sha256(LENGTH)}


def test_both_sides_close(farm: Farm) -> None:
    """Whoever closes first, no row stays, and no socket in a container."""
    for nth in range(30):
        with farm.connect(80, SERVERS[nth % 3]) as connection:
            close = nth % 2 == 0
            connection.sendall(request(close=close))
            assert read_answer(connection).status == 200
            if close:
                assert connection.recv(1) == b"", "the application closes"
    farm.wait_idle()
    for server in SERVERS:
        wait_until(f"no socket in the container of {server}", partial(_has_none, farm, server))


def _has_none(farm: Farm, server: str) -> bool:
    return "10.99.0" not in farm.run(server, "ss", "-Htn", "state", "all", "exclude", "listening")


def test_a_connection_that_is_kept_alive_moves_between_containers(farm: Farm) -> None:
    seen = Counter[str]()
    with farm.connect() as connection:
        for nth in range(40):
            connection.sendall(request(close=False))
            seen[read_answer(connection).served_by] += 1
            if nth == 20:
                (owner,) = seen
                farm.run("s1", "ipos", "drain", owner, "--wait", "--force")
    assert len(seen) == 2, seen
    for server in SERVERS:
        farm.run("s1", "ipos", "server", "set", server, "ready")
    wait_until("every server ready", farm.ready)


def test_a_session_has_its_container(farm: Farm) -> None:
    for _ in range(6):
        first = farm.get(port=STICKY)
        cookie = f"Cookie: {first.headers['set-cookie'].partition(';')[0]}"
        for server in SERVERS:
            with farm.connect(STICKY, server) as connection:
                connection.sendall(request("/", cookie))
                assert read_answer(connection).served_by == first.served_by


def test_the_listening_table_names_containers(farm: Farm) -> None:
    rows = [row for row in _listening(farm) if row["tcp_port"] == 80]
    names = {row["server_ip"]: row["container"] for row in rows}
    assert names == {
        farm.address(server): f"ipos-{farm.lab.name}-{server}-box" for server in SERVERS
    }
    assert all(row["process"] for row in rows), "and the processes in them"


def test_a_check_asks_inside(farm: Farm) -> None:
    """Nothing listens in the server's own network, so a check that asked there would fail."""
    _wait_all_serve(farm, CHECKED)
    assert farm.get(port=CHECKED).status == 200
    faults.kill_applications(farm.lab, "s3")
    gone = farm.address("s3")
    wait_until("s3 is no candidate", lambda: gone not in _serving(farm, CHECKED))
    farm.lab.start_applications("s3")
    _wait_all_serve(farm, CHECKED)


def test_a_container_that_is_restarted(farm: Farm) -> None:
    """Its connections end at once, its successor is served soon, and nothing of it stays."""
    before = _wire(farm, "s2")
    with farm.connect(ALONE) as old, farm.connect(ALONE, "s2") as local:
        for one in (old, local):
            one.sendall(request("/slow/3600", close=False))  # it waits for the answer
        wait_until("both have sockets", lambda: len(_boxes_of_rows(farm, "s2")) == 2)
        farm.lab.restart_box("s2")
        started = time.monotonic()
        for one in (old, local):
            one.settimeout(SOON_S)
            assert _ended(one)
        assert time.monotonic() - started < SOON_S
    wait_until("s2 serves again", lambda: _status(farm) == 200, SOON_S)
    after = _wire(farm, "s2")
    assert after != before
    assert box_hooks.indices(_pins(farm, "s2")) == {after}
    farm.wait_idle()


def _boxes_of_rows(farm: Farm, server: str) -> list[int]:
    tables = farm.tables[server]
    rows = [*tables.local.items(), *tables.connect.items()]
    return [row.box for _, row in rows if row.box and row.cookie]


def _ended(connection: socket.socket) -> bool:
    """By a reset, or by the application's own end; not by a timeout."""
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError as error:
        return is_reset(error)


def _status(farm: Farm) -> int:
    try:
        return farm.get(port=ALONE).status
    except (OSError, AssertionError):
        return 0


def test_a_wire_that_is_cut_resets_its_clients(farm: Farm) -> None:
    """The processes live on and know nothing of it: nobody but the farm can tell their clients."""
    with farm.connect(ALONE) as connection, farm.connect(ALONE, "s2") as local:
        for one in (connection, local):
            one.sendall(request("/slow/3600", close=False))
        wait_until("both have sockets", lambda: len(_boxes_of_rows(farm, "s2")) == 2)
        lost = farm.counters("s2")["box_lost"]
        farm.run("s2", "ip", "link", "del", WIRE)
        for one in (connection, local):
            one.settimeout(SOON_S)
            with pytest.raises(ConnectionResetError):
                one.recv(1)
        wait_until("both are counted", lambda: farm.counters("s2")["box_lost"] == lost + 2)
    assert box_hooks.indices(_pins(farm, "s2")) == set()
    farm.lab.restart_box("s2")
    wait_until("s2 serves again", lambda: _status(farm) == 200)


def test_a_reload_and_another_agent_disturb_no_container(farm: Farm) -> None:
    with farm.connect(ALONE) as connection:
        connection.sendall(request(close=False))
        assert read_answer(connection).served_by == "s2"
        farm.run("s2", "ipos", "reload")
        faults.kill_agent(farm.lab, "s2")
        assert farm.get(port=ALONE).served_by == "s2", "without an agent"
        farm.lab.start_agent("s2")
        connection.sendall(request(close=False))
        assert read_answer(connection).served_by == "s2"
    _wait_all_serve(farm)


def test_a_container_that_translates_addresses(farm: Farm) -> None:
    """As some engines have it for their name service: the kernel would take the sockets away."""
    inside = farm.lab.app_place("s2")

    def nft(command: str) -> str:
        done = inside.run(["nft", command], capture_output=True, text=True, check=True)
        return str(done.stdout)

    def is_kept_away() -> bool:
        return "table ip ipos\n" in nft("list tables")

    nft("add table ip dns; add chain ip dns post { type nat hook postrouting priority 100; }")
    wait_until("the agent has looked", is_kept_away, 15)
    before = farm.counters("s2")
    for nth in range(20):
        assert farm.get(server=SERVERS[nth % 3], port=ALONE).served_by == "s2"
    assert farm.counters("s2")["drop_not_adopted"] == before["drop_not_adopted"]
    nft("delete table ip dns")
    wait_until("it goes with the last chain", lambda: not is_kept_away(), 15)


def test_detach_leaves_nothing_in_the_container(farm: Farm) -> None:
    """And a new start finds and prepares it again."""
    inside = farm.lab.app_place("s3")
    routes = ("ip", "route", "show", "table", "local", "proto", "77")
    announce = Path("/proc/sys/net/ipv4/conf/eth0/arp_announce")

    def run(*command: str) -> str:
        done = inside.run(command, capture_output=True, text=True, check=True)
        return str(done.stdout)

    assert farm.address("s1") in run(*routes)
    assert run("cat", str(announce)) == "2\n"
    links = [syscall.open_pinned(path) for path in (_pins(farm, "s3") / "links").glob("box_*")]
    assert len(links) == 2
    cgroups.end(farm.lab.place("s3").agent_cgroup)
    farm.run("s3", "ipos", "detach")
    assert run(*routes) == ""
    assert run("cat", str(announce)) == "0\n"
    assert [syscall.link_info(link).target for link in links] == [0, 0], "on no interface"
    for link in links:
        os.close(link)
    farm.lab.start_agent("s3")
    del farm.tables  # s3 has others now
    wait_until("every server ready", farm.ready, 30)
    _wait_all_serve(farm)
    seen: set[str] = set()
    while len(seen) < len(SERVERS):
        seen.add(farm.get(server="s3").served_by)


def test_two_containers_with_the_same_application(farm: Farm) -> None:
    """None is chosen, which is said, until the configuration names one."""
    name = f"{farm.lab.name}-other"
    make = f"""
ip netns add {name}
ip -n {farm.lab.place("s1").namespace.name} link add other type veth peer name eth0 netns {name}
ip -n {farm.lab.place("s1").namespace.name} link set other up
ip -n {name} link set lo up
ip -n {name} link set eth0 up
"""
    subprocess.run(["sh", "-ec", make], check=True)
    program = "import socket as s\nx = s.create_server(('', 80))\nprint('up', flush=True)\ninput()"
    group = farm.lab.place("s1").cgroup  # as an engine's containers are in the server's
    enter = ["sh", "-c", f'echo 0 >"{group}/cgroup.procs" && exec "$@"', "sh"]
    other = subprocess.Popen(
        [*enter, "ip", "netns", "exec", name, "python3", "-c", program],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"up\n"
        both = " and ".join(sorted((name, farm.lab.app_place("s1").namespace.name)))
        status = ("ipos", "status", "-o", "json")
        told = f"the containers {both} all listen on port 80"
        wait_until("it is said", lambda: told in farm.run("s1", *status))
        wait_until("s1 is no candidate", lambda: len(_serving(farm, 80)) == 2)
        file = farm.lab.place("s1").config_file
        text = file.read_text()
        pick = f'port = 80\napplication = "netns:{farm.lab.app_place("s1").namespace}"'
        file.write_text(text.replace("port = 80", pick, 1))
        farm.run("s1", "ipos", "reload")
        _wait_all_serve(farm)
        file.write_text(text)
    finally:
        other.kill()
        other.communicate()  # which closes its pipes, too
        subprocess.run(["ip", "netns", "del", name], check=True)
    farm.run("s1", "ipos", "reload")
    _wait_all_serve(farm)
