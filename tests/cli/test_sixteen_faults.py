# SPDX-License-Identifier: Apache-2.0
"""Sixteen faults that keep farms from working: `ipos doctor` finds each, and says how to mend it.

What one machine can see of itself is made up as facts; what only servers together can see is said
by the judges of a real agent, and read from its snapshot as the command reads it.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ipos.agent.heartbeat import message
from ipos.agent.host import health_checks, paths
from ipos.agent.snapshot import snapshot
from ipos.agent.snapshot.snapshot import Snapshot, advertised
from ipos.config import absences
from ipos.config.health_check import Check
from ipos.config.listener import Listener
from ipos.config.schema import Service
from ipos.doctor import Facts, Interface, examine
from ipos.doctor.examination import farm_findings
from ipos.doctor.firewall import parse_iptables
from ipos.doctor.netdev import XdpFeature
from ipos.doctor.open_sockets import Listener as Open
from ipos.doctor.site import Place, Site
from tests.agent.heartbeat.test_member_faults import Farm
from tests.agent.made_up_farm import KEY, NOW_NS, WALL_MS, back, config, front, state
from tests.kernel.test_doctor_checks import HEALTHY

VETH = Interface("front", 1500, "ipos_xdp", kind="veth")


def drops(rule: str) -> Facts:
    saved = f"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT {rule} -j DROP\nCOMMIT\n"
    return replace(HEALTHY, ruleset=tuple(parse_iptables(saved)))


def translates(chain: str) -> Facts:
    saved = f"*nat\n:PREROUTING ACCEPT [0:0]\n:{chain} - [0:0]\n-A PREROUTING -j {chain}\nCOMMIT\n"
    return replace(HEALTHY, ruleset=tuple(parse_iptables(saved)))


def at(**changes: object) -> Facts:
    assert isinstance(HEALTHY.site, Site)
    return replace(HEALTHY, site=replace(HEALTHY.site, **changes))  # type: ignore[arg-type]


ON_THIS_MACHINE = {
    "missing configuration": (at(missing=True), "`ipos setup` writes the first one"),
    "MPTCP behind application": (
        replace(at(places=(Place("web", 9000),)), listeners=(Open("0.0.0.0", 9000, mptcp=True),)),
        "GODEBUG=multipathtcp=0",
    ),
    "wrong back address": (
        replace(HEALTHY, back_addresses=("192.0.2.7",)),
        "give back one of these addresses, or add its own to members",
    ),
    "nothing listens on the port": (
        at(places=(Place("api", 8080, "127.0.0.1"),)),
        "start the application, or say where it listens",
    ),
    "UDP 7077 dropped": (drops("-p udp -m udp --dport 7077"), "iptables -t filter -D INPUT"),
    "UDP 7078 dropped": (drops("-p udp -m udp --dport 7078"), "connections migrate with their"),
    "the request dropped": (
        drops("-p tcp -m conntrack --ctstate NEW"),
        "iptables -t filter -D INPUT",
    ),
    "address translation": (translates("DOCKER"), "tcp dport 80 notrack"),
    "no native XDP": (
        replace(HEALTHY, front=replace(HEALTHY.front, xdp_features=XdpFeature(0))),
        "use a NIC and a driver that have it",
    ),
    "no GRO at a veth's other end": (
        replace(HEALTHY, front=replace(VETH, xdp_features=XdpFeature(3))),
        "ethtool -K PEER gro on",
    ),
    "transmit offload at a veth's other end": (
        replace(HEALTHY, front=VETH, bad_checksums=7),
        "ethtool -K PEER tx off",
    ),
    "another program on the XDP hook": (
        replace(HEALTHY, front=Interface("front", 1500, "katran")),
        "ip link set dev front xdp off",
    ),
}


@pytest.mark.parametrize(("facts", "fix"), ON_THIS_MACHINE.values(), ids=ON_THIS_MACHINE)
def test_what_this_machine_can_see(facts: Facts, fix: str) -> None:
    assert all(each.ok for each in examine(HEALTHY))
    (found,) = [each.message for each in examine(facts) if not each.ok]
    assert fix in found


def _said_wrongly(raw: bytes, by: int) -> Snapshot:
    """After a datagram of another server that is not believed."""
    farm = Farm()
    assert farm.members.receive(raw, int(back(by)), NOW_NS, WALL_MS) is None
    return Snapshot(troubles=[one.text for one in farm.members.troubles(NOW_NS)])


def _another_key() -> Snapshot:
    return _said_wrongly(message.encode(state(3, sequence=9), bytes(16)), 3)


def _another_time() -> Snapshot:
    return _said_wrongly(message.encode(state(2, sequence=9, sent_ms=WALL_MS - 9000), KEY), 2)


def _another_machine() -> Snapshot:
    return _said_wrongly(
        message.encode(state(2, mac=b"\2\0\0\0\0\x99", boot=WALL_MS, hears=b""), KEY), 2
    )


def _same_name() -> Snapshot:
    return Snapshot(me="s1", servers=advertised(Farm(server="s3", boot=WALL_MS).members))


def _same_address() -> Snapshot:
    farm = Farm(addresses=[int(front(3))], boot=WALL_MS)
    return Snapshot(me="s1", servers=advertised(farm.members))


def _failing_check() -> Snapshot:
    """The sentence of a real check, of an application that answers 404."""

    async def application(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 404 Not Found\r\n\r\n")
        writer.close()

    async def trouble() -> str:
        server = await asyncio.start_server(application, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        service = Service(name="web", port=80, check=Check(http="/health"))
        checks = health_checks.Checks()
        async with server:
            assert service.check is not None
            listener = Listener(IPv4Address("127.0.0.1"), port)
            why = await health_checks.trouble(listener, service.check)
        checks.stop()
        return why

    return Snapshot(undone=[snapshot.not_well("web", asyncio.run(trouble()))])


def _unheard() -> Snapshot:
    return Snapshot(absences=absences.unheard([back(3)]))


def _unknown() -> Snapshot:
    from ipos.config.schema import Pool

    pool = Pool(name="images", servers={"s9": 1})
    web = Service(name="web", port=80)
    return Snapshot(absences=absences.unknown_servers(config(web, pool=[pool]), ["s1", "s2"]))


SEEN_TOGETHER = {
    "another secret": (_another_key, "give all servers of a farm the same secret_file"),
    "another time": (_another_time, "set the clocks of all servers by NTP"),
    "one back address twice": (_another_machine, "give it an address of its own"),
    "one name twice": (_same_name, "give each server its own"),
    "one service address twice": (_same_address, "give each server its own"),
    "a check that fails": (
        _failing_check,
        "it answered 404, not 200-399; repair its application, or correct its check",
    ),
    "a member never heard of": (_unheard, "start its agent, or let UDP port 7077 pass"),
    "a pool's unknown server": (_unknown, "correct the name, or start that server"),
}


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The run directory of an agent that lives."""
    monkeypatch.setenv("IPOS_RUN_DIR", str(tmp_path))
    lock = paths.lock_agent()
    yield tmp_path
    os.close(lock)


@pytest.mark.parametrize(("said", "fix"), SEEN_TOGETHER.values(), ids=SEEN_TOGETHER)
def test_what_servers_see_together(said: Callable[[], Snapshot], fix: str, running: Path) -> None:
    snapshot.write(paths.snapshot_file(), said())
    (found,) = farm_findings()
    assert not found.ok
    assert fix in found.message


def test_they_are_sixteen_and_more() -> None:
    assert len(ON_THIS_MACHINE) + len(SEEN_TOGETHER) >= 16
