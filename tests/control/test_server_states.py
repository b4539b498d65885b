# SPDX-License-Identifier: Apache-2.0
"""States of servers that their data planes tell each other, and what a neighbour on back can do."""

import socket
import time
from ipaddress import IPv4Address

import pytest

from ipos.abi.rows import Edition, Server
from ipos.agent.snapshot import snapshot
from ipos.lab import agents, faults
from tests.support.farm import Farm, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.alone]

TIMES = 50
NUMBERS = 30
"""Where a frame's numbers begin: behind the Ethernet header and ours."""
CONNECTIONS = NUMBERS + 32
_ETH_P_ALL = 3


def row(farm: Farm, at: str, of: str) -> Server:
    found = farm.tables[at].servers.get(int(of[1:]))
    assert found is not None
    return found


def edition(farm: Farm, at: str, of: str) -> Edition:
    found = farm.tables[at].editions.get(int(of[1:]))
    assert found is not None
    return found


def frame_of(farm: Farm, server: str) -> bytes:
    """The next frame with its state, taken off the wire where it leaves."""
    with farm.inside(server), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as tap:
        tap.bind(("back", _ETH_P_ALL))
        tap.settimeout(10)
        while True:
            data = tap.recv(2048)
            if data[12:14] == b"\0\7" and data[26] == 13:
                return data


def throw(farm: Farm, frame: bytes, name: str) -> None:
    """From s2's place on back, until s1 has counted all of them under this name."""
    before = farm.counters("s1")[name]
    with farm.inside("s2"), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind(("back", 0))
        for _ in range(TIMES):
            out.send(frame)
    wait_until(f"{TIMES} are counted", lambda: farm.counters("s1")[name] >= before + TIMES)


def test_data_planes_take_the_states_and_agents_read_few(farm: Farm) -> None:
    place = farm.lab.place("s1")

    def told() -> tuple[int, int]:
        accepted = snapshot.read(place.run_dir / "advertised.json").datagrams["accepted"]
        return farm.counters("s1")["state_heard"], accepted

    heard, read = told()
    wait_until("s1 has heard 200 states in frames", lambda: told()[0] >= heard + 200, 60)
    now_heard, now_read = told()
    now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    ages = [(now_ns - row(farm, "s1", of).updated_ns) // 1_000_000 for of in ("s2", "s3")]
    print(f"{now_heard - heard} in frames, {now_read - read} in full; rows are {ages} ms old")
    assert now_read - read < (now_heard - heard) / 2


def test_forged_and_replayed_states_change_nothing_and_are_counted(farm: Farm) -> None:
    """From a member's own place on back, by one who has no key."""
    frame = frame_of(farm, "s3")
    wait_until("s1 has heard it", lambda: farm.tables["s1"].editions.get(3) == known(farm, frame))
    throw(farm, frame, "drop_state_old")
    worse = bytearray(frame)
    worse[CONNECTIONS : CONNECTIONS + 4] = b"\x7f\xff\xff\xff"
    throw(farm, bytes(worse), "drop_frame_tag")
    throw(farm, bytes(worse[:-8]) + bytes(8), "drop_frame_tag")
    by_s2 = frame[:6] + row(farm, "s1", "s2").mac + frame[12:]
    throw(farm, by_s2, "drop_state_unknown")
    throw(farm, frame[:6] + bytes.fromhex("02000000dead") + frame[12:], "drop_frame_foreign")
    for of in ("s2", "s3"):
        assert row(farm, "s1", of).tcp_connections < 1000
        assert not row(farm, "s1", of).stale


def known(farm: Farm, frame: bytes) -> Edition:
    """What s1 knows of s3, if a frame of s3's is of the same edition."""
    found = edition(farm, "s1", "s3")
    boot, number = frame[NUMBERS : NUMBERS + 8], frame[NUMBERS + 40 : NUMBERS + 44]
    assert int.from_bytes(boot, "big") == found.boot
    return Edition(found.boot, found.sequence, int.from_bytes(number, "big"))


def test_replayed_states_keep_no_dead_agent_alive(farm: Farm) -> None:
    """Its data plane answers probes, so it is stale; only its agent can end that."""
    frame = frame_of(farm, "s3")
    faults.kill_agent(farm.lab, "s3")
    try:
        wait_until("s1 finds it silent", lambda: row(farm, "s1", "s3").stale)
        throw(farm, frame, "drop_state_old")
        wait_until("s1 looks again", lambda: looked_again(farm))
        assert row(farm, "s1", "s3").stale
    finally:
        agents.launch(farm.lab.place("s3"))
    wait_until("it is back", lambda: not row(farm, "s1", "s3").stale, 20)
    wait_until("in frames too", lambda: edition(farm, "s1", "s3").boot == boot_of(farm, "s3"), 20)


def boot_of(farm: Farm, server: str) -> int:
    return int.from_bytes(frame_of(farm, server)[NUMBERS : NUMBERS + 8], "big")


def looked_again(farm: Farm) -> bool:
    """Whether s1's agent has been at work since: it has written its own row anew."""
    began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    wait_until("a beat", lambda: row(farm, "s1", "s1").updated_ns > began)
    wait_until("and one more", lambda: row(farm, "s1", "s1").updated_ns > began + 200_000_000)
    return True


def test_rows_stay_fresh_without_an_agent(farm: Farm) -> None:
    """Whoever selects goes by the load of now, though nobody reads datagrams."""
    faults.kill_agent(farm.lab, "s1")
    try:
        before = {of: row(farm, "s1", of).updated_ns for of in ("s2", "s3")}
        wait_until(
            "both rows are written",
            lambda: all(row(farm, "s1", of).updated_ns > was for of, was in before.items()),
        )
        assert farm.get().status == 200
    finally:
        agents.launch(farm.lab.place("s1"))


def test_a_new_edition_is_taken_by_all(farm: Farm) -> None:
    before = edition(farm, "s1", "s3").edition
    farm.run("s3", "ipos", "server", "set", "s3", "drain")
    try:
        wait_until("s1 knows it", lambda: row(farm, "s1", "s3").state.name == "DRAIN")
        wait_until("by a new edition", lambda: edition(farm, "s1", "s3").edition > before)
        was = row(farm, "s1", "s3").updated_ns
        heard = farm.counters("s1")["state_heard"]
        wait_until("and hears frames", lambda: farm.counters("s1")["state_heard"] > heard + 20)
        assert row(farm, "s1", "s3").updated_ns > was
        assert row(farm, "s1", "s3").back_ip == IPv4Address("10.77.0.3")
    finally:
        farm.run("s3", "ipos", "server", "set", "s3", "ready")
