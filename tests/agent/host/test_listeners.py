# SPDX-License-Identifier: Apache-2.0
"""Listening sockets as the kernel tells them, of every kind that can take IPv4."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ipos.agent.host import listeners, processes
from ipos.agent.host.listeners import ANY, Box, Listener
from ipos.agent.host.paths import cgroup_root
from ipos.agent.network.seen_sockets import SeenSockets
from ipos.config import Listener as ConfiguredListener
from ipos.config import schema
from tests.support.farm import wait_until

IPPROTO_MPTCP = 262
LOOPBACK = IPv4Address("127.0.0.1")
OWN = [IPv4Address("203.0.113.1")]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def listen(stack: ExitStack, family: int, host: str, *, ipv6_only: bool = False) -> int:
    """A listening socket's port."""
    made = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(ipv6_only))
    made.bind((host, 0))
    made.listen()
    return int(made.getsockname()[1])


def found(port: int) -> set[IPv4Address]:
    return {one.ip for one in listeners.listening() if one.port == port}


def test_addresses_are_told(stack: ExitStack) -> None:
    assert found(listen(stack, socket.AF_INET, "127.0.0.1")) == {LOOPBACK}
    assert found(listen(stack, socket.AF_INET, "0.0.0.0")) == {ANY}


def test_only_ipv6_sockets_that_take_ipv4_count(stack: ExitStack) -> None:
    assert found(listen(stack, socket.AF_INET6, "::")) == {ANY}
    assert found(listen(stack, socket.AF_INET6, "::ffff:127.0.0.1")) == {LOOPBACK}
    assert found(listen(stack, socket.AF_INET6, "::", ipv6_only=True)) == set()
    assert found(listen(stack, socket.AF_INET6, "::1")) == set()


def test_connections_are_not_told(stack: ExitStack) -> None:
    port = listen(stack, socket.AF_INET, "127.0.0.1")
    client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    assert found(client.getsockname()[1]) == set()
    assert found(port) == {LOOPBACK}


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")])
def test_a_listener_with_mptcp_serves_nothing_and_is_named(
    family: int, host: str, stack: ExitStack
) -> None:
    made = stack.enter_context(socket.socket(family, socket.SOCK_STREAM, IPPROTO_MPTCP))
    made.bind((host, 0))
    made.listen()
    port = made.getsockname()[1]
    told = [one for one in listeners.listening() if one.port == port]
    assert [(one.ip, one.mptcp) for one in told] == [(ANY, True)]
    go = service(f"127.0.0.1:{port}")
    assert not listeners.is_served(go, told, OWN)
    said = listeners.elsewhere(go, told, OWN)
    assert said is not None
    assert "MPTCP" in said
    assert "GODEBUG=multipathtcp=0" in said


def test_one_with_mptcp_serves_clients_whose_syns_it_gets() -> None:
    found = frozenset({_at(None, mptcp=True)})
    assert listeners.only_by_syn(service(), found, OWN)
    assert listeners.is_served(service(), listeners.as_for_syns(found), OWN)
    others = (_at(None), _at(A), _at(None, "127.0.0.1", mptcp=True))
    for other in others[:2]:
        assert not listeners.only_by_syn(service(), found | {other}, OWN), "that one is better"
    assert not listeners.only_by_syn(service(), {others[2]}, OWN), "no client's SYN comes there"
    boxed = frozenset({_at(A, mptcp=True)})
    assert listeners.only_by_syn(service("container:a"), boxed, OWN)
    assert listeners.chosen(service(), listeners.as_for_syns(boxed), OWN) is not None
    assert listeners.by_syn_said(schema.Service("mail", 25, select="connection")) is None


@pytest.fixture
def group() -> Iterator[Path]:
    made = cgroup_root() / f"ipos-test-listeners-{os.getpid()}"
    made.mkdir()
    yield made
    events = made / "cgroup.events"
    wait_until("nothing is left in it", lambda: "populated 0" in events.read_text())
    made.rmdir()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_socket_of_another_cgroup_is_outside(host: str, group: Path, stack: ExitStack) -> None:
    """What the kernel says of the socket counts, and not where its process is now."""
    port = listen(stack, socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    asked = stack.enter_context(closing(listeners.Listeners(SeenSockets(group))))
    outside = {one for one in asked.now() if one.port == port}
    assert [one.outside for one in outside] == [True]
    assert not listeners.is_served(service(f"127.0.0.1:{port}"), outside, OWN)
    said = listeners.elsewhere(service(f"127.0.0.1:{port}"), outside, OWN) or ""
    assert "outside of the cgroup IPOS_CGROUP" in said
    (below := group / "below").mkdir()
    script = (
        f"import socket; s = socket.create_server(('127.0.0.1', 0)); "
        f"open('{group.parent}/cgroup.procs', 'w').write('0'); "
        "print(s.getsockname()[1], flush=True); input()"
    )
    enter = ["sh", "-c", 'echo 0 >"$1" && exec "$2" -c "$3"', "sh", f"{below}/cgroup.procs"]
    inside = subprocess.Popen(
        [*enter, sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    stack.callback(below.rmdir)
    stack.callback(inside.communicate)
    assert inside.stdout is not None
    number = int(inside.stdout.readline())
    assert [one.outside for one in asked.now() if one.port == number] == [False]


def test_the_same_sockets_are_the_same_object_whatever_waits_in_them(stack: ExitStack) -> None:
    """What is made from them is not made again while clients come."""
    port = listen(stack, socket.AF_INET, "127.0.0.1")
    asked = stack.enter_context(closing(listeners.Listeners()))
    before = asked.now()
    stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    assert asked.now() is before


def test_asking_again_tells_what_has_come_and_gone(stack: ExitStack) -> None:
    listeners_ = stack.enter_context(closing(listeners.Listeners()))
    before = listeners_.now()
    with ExitStack() as passing:
        port = listen(passing, socket.AF_INET, "127.0.0.1")
        six = listen(passing, socket.AF_INET6, "::")
        assert {one.port for one in listeners_.now() - before} >= {port, six}
    assert not {port, six} & {one.port for one in listeners_.now()}


def test_many_sockets_need_several_messages(stack: ExitStack) -> None:
    ports = {listen(stack, socket.AF_INET, "127.0.0.1") for _ in range(400)}
    assert ports <= {one.port for one in listeners.listening()}


def test_a_socket_that_failed_is_replaced(stack: ExitStack) -> None:
    listeners_ = stack.enter_context(closing(listeners.Listeners()))
    listeners_.now()
    assert listeners_._netlink is not None
    listeners_._netlink.close()
    with pytest.raises(OSError):
        listeners_.now()
    port = listen(stack, socket.AF_INET, "127.0.0.1")
    assert port in {one.port for one in listeners_.now()}


def test_processes_are_found_by_inode(stack: ExitStack) -> None:
    port = listen(stack, socket.AF_INET, "127.0.0.1")
    inode = next(one.inode for one in listeners.listening() if one.port == port)
    process = processes.processes({inode, 1})[inode]
    assert process.pid == os.getpid()
    assert process.name == Path("/proc/self/comm").read_text().strip()


def service(application: str | None = None) -> schema.Service:
    listener = None if application is None else ConfiguredListener.parse(application)
    return schema.Service(name="web", port=80, application=listener)


@pytest.mark.parametrize(
    ("wanted", "ip", "port", "served"),
    [
        (service(), ANY, 80, True),
        (service(), OWN[0], 80, True),
        (service(), LOOPBACK, 80, False),
        (service(), ANY, 8080, False),
        (service("127.0.0.1:8080"), LOOPBACK, 8080, True),
        (service("127.0.0.1:8080"), ANY, 8080, True),
        (service("127.0.0.1:8080"), OWN[0], 8080, False),
        (service("127.0.0.1:8080"), LOOPBACK, 80, False),
    ],
)
def test_who_serves_a_service(
    wanted: schema.Service, ip: IPv4Address, port: int, served: bool
) -> None:
    assert listeners.is_served(wanted, [Listener(ip, port, 1)], OWN) is served


@pytest.mark.parametrize(
    ("wanted", "ip", "port", "why"),
    [
        (service(), LOOPBACK, 80, "listens on 127.0.0.1:80, not on 0.0.0.0:80"),
        (service("127.0.0.1:8080"), OWN[0], 8080, f'set application = "{OWN[0]}:8080"'),
        (service(), OWN[0], 80, None),
        (service(), LOOPBACK, 8080, None),
    ],
)
def test_why_a_service_is_not_served(
    wanted: schema.Service, ip: IPv4Address, port: int, why: str | None
) -> None:
    """Somebody listens on the port, where no client's connection comes."""
    said = listeners.elsewhere(wanted, [Listener(ip, port, 1)], OWN)
    assert (said is None) if why is None else why in (said or "")


A, B = Box(5, 0, "a", frozenset({"container:a"})), Box(6, 1, "b")


def _at(box: Box | None, ip: str = "0.0.0.0", *, mptcp: bool = False) -> Listener:
    return Listener(IPv4Address(ip), 80, 7, mptcp=mptcp, box=box)


@pytest.mark.parametrize(
    ("application", "found", "chosen"),
    [
        (None, [_at(A)], A),
        (None, [_at(A, "203.0.113.1")], A),
        (None, [_at(A, "127.0.0.1")], None),
        (None, [_at(A), _at(None)], None),
        (None, [_at(A), _at(None, "127.0.0.1")], A),
        (None, [_at(A), _at(B)], None),
        (None, [_at(A, mptcp=True)], None),
        ("container:a", [_at(A), _at(B), _at(None)], A),
        ("container:a", [_at(B), _at(None)], None),
        ("container:a:81", [_at(A)], None),
    ],
)
def test_which_container_serves(
    application: str | None, found: list[Listener], chosen: Box | None
) -> None:
    wanted = service(application)
    socket = listeners.chosen(wanted, found, OWN)
    assert (socket.box if socket else None) == chosen
    outside = application is None and _at(None) in found
    assert listeners.is_served(wanted, found, OWN) == (chosen is not None or outside)


def test_what_is_not_served_says_why() -> None:
    told = listeners.elsewhere(service(), [_at(A), _at(B)], OWN) or ""
    assert "containers a and b all listen on port 80; say which is meant, as" in told
    told = listeners.elsewhere(service("container:a"), [_at(B)], OWN) or ""
    assert "no container:a that a pair of interfaces leads to listens on port 80" in told
    told = listeners.elsewhere(service(), [_at(A, mptcp=True)], OWN) or ""
    assert "in the container a listens on port 80 with MPTCP" in told
