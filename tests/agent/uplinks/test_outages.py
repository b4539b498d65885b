# SPDX-License-Identifier: Apache-2.0
"""What uplinks that are out mean: for addresses, for a server, and for the command that is told."""

import asyncio
from collections.abc import Coroutine
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import msgspec

from ipos.agent.heartbeat.member_faults import Fault
from ipos.agent.heartbeat.membership import Members
from ipos.agent.holders.choice import choose, rank, servers_of, why_not_its_own
from ipos.agent.loop.undone import Undone
from ipos.agent.uplinks.outages import DOUBT_NS, Outages
from ipos.agent.uplinks.uplink_faults import UplinkFault, out_of_service
from ipos.agent.uplinks.watch import ALONE_NS, Verdict
from ipos.config.agent_section import Agent
from ipos.config.uplink import Uplink
from tests.agent.made_up_farm import NOW_NS, back, config, front, members, state

ISP1, ISP2 = "isp1", "isp2"
UPLINKS = [
    Uplink(ISP1, IPv4Network("203.0.113.0/24"), IPv4Address("203.0.113.254"), "eth0"),
    Uplink(ISP2, IPv4Network("192.0.2.0/24"), IPv4Address("192.0.2.254"), "eth2"),
]
WELL, GATEWAY, UNKNOWN = int(UplinkFault.NONE), int(UplinkFault.GATEWAY), int(UplinkFault.UNKNOWN)


def second(number: int) -> int:
    return int(IPv4Address("192.0.2.0") + number)


def farm(*isp2: int | None) -> Members:
    """A farm whose servers say this of isp2; None: they are not on it."""
    found = members()
    for number, fault in enumerate(isp2, 1):
        said = {ISP1: WELL} | ({} if fault is None else {ISP2: fault})
        addresses = [int(front(number)), second(number)]
        if number == 1:
            found.hear_myself(state(1, addresses=addresses, uplinks=said, holds=[]), NOW_NS)
        else:
            member = found.by_ip[back(number)]
            member.state = state(number, addresses=addresses, uplinks=said, holds=[])
            member.heard_ns = NOW_NS
    return found


def test_an_uplink_is_out_when_all_that_know_say_so() -> None:
    def out(*isp2: int | None) -> set[str]:
        return set(out_of_service(UPLINKS, farm(*isp2), NOW_NS))

    assert out(GATEWAY, GATEWAY, GATEWAY) == {ISP2}
    assert out(GATEWAY, GATEWAY, None) == {ISP2}
    assert out(GATEWAY, UNKNOWN, GATEWAY) == {ISP2}
    assert out(GATEWAY, GATEWAY, WELL) == set()
    assert out(UNKNOWN, UNKNOWN, UNKNOWN) == set()


def test_who_has_lost_an_uplink_holds_none_of_its_addresses() -> None:
    servers = servers_of(farm(WELL, WELL, GATEWAY), NOW_NS, UPLINKS)
    chosen = choose(second(3), servers)
    assert chosen is not None
    assert chosen.name in ("s1", "s2")
    assert why_not_its_own(second(3), servers) == "s3 has no uplink isp2"
    own = choose(int(front(3)), servers)
    assert own is not None
    assert own.name == "s3"
    only = servers_of(farm(WELL, None, GATEWAY), NOW_NS, UPLINKS)
    found = choose(second(3), only)
    assert found is not None
    assert found.name == "s1"
    assert rank(second(3), found.number, only) == 0
    assert all(not one.unusable for one in servers_of(farm(WELL, None, GATEWAY), NOW_NS))


def test_it_is_a_fault_of_the_server_only_while_it_is_well_elsewhere() -> None:
    verdict = Verdict()
    mine = {ISP1: UplinkFault.NONE, ISP2: UplinkFault.CARRIER}
    assert verdict.fault(mine, set(), NOW_NS) is Fault.NONE
    assert verdict.fault(mine, {ISP2}, NOW_NS) is Fault.NONE
    assert verdict.fault(mine, {ISP2}, NOW_NS + ALONE_NS - 1) is Fault.NONE
    assert verdict.fault(mine, {ISP2}, NOW_NS + ALONE_NS) is Fault.FRONT_CARRIER
    assert verdict.fault(mine, set(), NOW_NS + ALONE_NS) is Fault.NONE
    assert verdict.fault(mine, {ISP2}, NOW_NS + ALONE_NS) is Fault.NONE, "counted anew"
    both = dict.fromkeys((ISP1, ISP2), UplinkFault.GATEWAY)
    assert verdict.fault(both, set(), NOW_NS) is Fault.FRONT_NEIGHBOUR, "it reaches no client"


class Told:
    """An agent's outages, and what its command has said."""

    def __init__(self, tmp: Path, found: Members, *, fails: bool = False) -> None:
        self._file = tmp / "said"
        command = f'echo "$IPOS_UPLINKS_OUT|$IPOS_ADDRESSES_OUT|$IPOS_ADDRESSES" >> {self._file}'
        command += "; exit 1" if fails else ""
        agent = Agent(uplink_command=["sh", "-c", command])
        self.undone = Undone()
        self.outages = Outages(
            msgspec.structs.replace(config(agent=agent), uplink=UPLINKS),
            found, tmp / "uplinks-out", self._spawn, self.undone,
        )  # fmt: skip
        self._tasks: list[asyncio.Task[None]] = []

    def _spawn(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        self._tasks.append(asyncio.get_running_loop().create_task(work))
        return self._tasks[-1]

    async def look(self, now_ns: int) -> list[str]:
        self.outages.look(now_ns, settled=True)
        while self._tasks:
            await self._tasks.pop()
        return self._file.read_text().splitlines() if self._file.exists() else []


def test_the_first_server_tells_the_command_once(tmp_path: Path) -> None:
    async def run() -> None:
        one = Told(tmp_path, farm(GATEWAY, GATEWAY, GATEWAY))
        gone = "192.0.2.1 192.0.2.2 192.0.2.3"
        left = "203.0.113.1 203.0.113.2 203.0.113.3"
        wanted = [f"isp2|{gone}|{left}"]
        for _ in range(3):
            assert await one.look(NOW_NS) == wanted
        assert one.outages.rests
        assert one.outages.why(second(2)) == "its uplink isp2 is out of service"
        assert one.outages.why(int(front(2))) == ""
        (said,) = one.outages.sentences()
        assert said.startswith("the uplink isp2 is out of service (its router does not answer ARP)")
        again = Told(tmp_path, farm(GATEWAY, GATEWAY, GATEWAY))
        assert await again.look(NOW_NS) == wanted, "an agent that starts again repeats nothing"
        well = Told(tmp_path, farm(WELL, GATEWAY, GATEWAY))
        assert await well.look(NOW_NS) == [*wanted, f"||{gone} {left}"]

    asyncio.run(run())


def test_another_server_tells_it_only_when_the_first_one_is_lost(tmp_path: Path) -> None:
    async def run() -> None:
        found = farm(GATEWAY, GATEWAY, GATEWAY)
        one = Told(tmp_path, found)
        found.me, mine = IPv4Address("10.77.0.9"), found.me
        assert await one.look(NOW_NS) == []
        found.me = mine
        assert len(await one.look(NOW_NS)) == 1
        late = Told(tmp_path / "late", farm(GATEWAY, GATEWAY, GATEWAY))
        assert DOUBT_NS > 0
        assert late.outages.addresses == frozenset()

    (tmp_path / "late").mkdir()
    asyncio.run(run())


def test_a_command_that_fails_is_run_again(tmp_path: Path) -> None:
    async def run() -> None:
        one = Told(tmp_path, farm(GATEWAY, GATEWAY, GATEWAY), fails=True)
        assert len(await one.look(NOW_NS)) == 1
        assert "agent.uplink_command: sh ended with status 1" in one.undone.reasons()[0]
        assert len(await one.look(NOW_NS + 1)) == 1
        assert len(await one.look(NOW_NS + DOUBT_NS + 1)) == 2
        assert not one.outages.rests

    asyncio.run(run())
