# SPDX-License-Identifier: Apache-2.0
"""Three real agents in a lab: who dies, who is believed, what is taken, what is left behind."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from subprocess import PIPE
from typing import Any

import msgspec
import pytest

from ipos.agent import message, snapshot
from ipos.handshake.keys import FarmKeys
from ipos.inic import kernel
from ipos.inic.layout import constant
from ipos.inic.libbpf.maps import Map
from ipos.inic.maps import switch
from ipos.inic.rows import ServerState, SettingsFlag
from ipos.lab import Settings, agents, faults
from ipos.lab.lab import Lab
from tests.agent.farm import state
from tests.farm.support import CONFIG, Farm, read_answer, request, wait_until

pytestmark = pytest.mark.farm
DROPPED = ("short", "version", "tag", "malformed", "source", "clock", "replayed", "farm")


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Lab(Settings(name=f"ag{os.getpid()}", config=CONFIG)) as lab:
        yield Farm(lab)


@pytest.fixture(autouse=True)
def whole(farm: Farm) -> None:
    """Every test finds all servers ready."""
    wait_until("every server is ready", farm.ready)


def pins(farm: Farm, server: str) -> Path:
    place = farm.lab.place(server)
    return place.pin_dir / f"{farm.lab.name}-{server}"


def seen(farm: Farm, by: str, server: str) -> tuple[ServerState, bool]:
    """State and staleness of a server in another's map."""
    row = farm.tables[by].servers.get(int(server[1:]))
    assert row is not None
    return row.state, row.stale


def ipos(farm: Farm, server: str, *arguments: str) -> tuple[int, str]:
    done = farm.lab.run(server, ["ipos", *arguments], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def agent_pid(farm: Farm, server: str) -> int:
    return int((farm.lab.place(server).run_dir / "agent.lock").read_text())


def answered_by(farm: Farm, requests: int) -> set[str]:
    return {farm.get().served_by for _ in range(requests)}


def test_a_killed_agent_leaves_its_server_serving_and_the_next_adopts_it(farm: Farm) -> None:
    before = kernel.adopt(pins(farm, "s2"))
    faults.kill_agent(farm.lab, "s2")
    wait_until("s2 is stale", lambda: seen(farm, "s1", "s2") == (ServerState.READY, True))
    row = farm.tables["s1"].servers.get(2)
    assert row is not None
    wait_until(
        "two seconds of silence",
        lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) - row.updated_ns > 2_000_000_000,
    )
    assert seen(farm, "s1", "s2") == (ServerState.READY, True)
    assert "s2" in answered_by(farm, 40)
    assert ipos(farm, "s2", "status")[0] == 0
    farm.lab.start_agent("s2")
    assert kernel.adopt(pins(farm, "s2")) == before
    wait_until("s2 is fresh", lambda: seen(farm, "s1", "s2") == (ServerState.READY, False))


def test_a_stopped_agent_is_stale_and_wakes_without_doubting_the_others(farm: Farm) -> None:
    pid = agent_pid(farm, "s3")
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until("s3 is stale", lambda: seen(farm, "s1", "s3") == (ServerState.READY, True))
        assert "s3" in answered_by(farm, 40)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until("s3 is fresh", lambda: seen(farm, "s1", "s3") == (ServerState.READY, False))
    assert "down" not in (farm.lab.place("s3").run_dir / "agent.log").read_text()


def test_a_server_without_its_data_plane_is_down_though_its_kernel_lives(farm: Farm) -> None:
    before = farm.counters("s2")["probe_answered"]
    faults.kill_agent(farm.lab, "s2")
    wait_until("s2 is stale", lambda: seen(farm, "s1", "s2") == (ServerState.READY, True))
    assert farm.counters("s2")["probe_answered"] > before
    kernel.detach(pins(farm, "s2"))
    try:
        wait_until("s2 is down", lambda: seen(farm, "s1", "s2")[0] is ServerState.DOWN)
        assert "s2" not in answered_by(farm, 20)
    finally:
        farm.lab.start_agent("s2")
        farm.__dict__.pop("tables", None)  # those of the data plane that has gone
    wait_until("s2 is back", lambda: seen(farm, "s1", "s2") == (ServerState.READY, False))


def test_a_server_without_power_is_down_within_a_second_and_comes_back(farm: Farm) -> None:
    faults.cut_power(farm.lab, "s2")
    started = time.monotonic()
    try:
        wait_until("s2 is down", lambda: seen(farm, "s1", "s2")[0] is ServerState.DOWN)
        assert time.monotonic() - started < 1.5, "a second, and what a busy machine adds"
        assert "s2" not in answered_by(farm, 20)
    finally:
        faults.restore_power(farm.lab, "s2")
    wait_until("s2 is back", lambda: seen(farm, "s1", "s2") == (ServerState.READY, False))


def test_an_order_given_anywhere_holds_everywhere_and_over_a_restart(farm: Farm) -> None:
    assert ipos(farm, "s1", "server", "set", "s3", "drain") == (0, "")
    wait_until(
        "all know",
        lambda: all(seen(farm, by, "s3")[0] is ServerState.DRAIN for by in ("s1", "s2", "s3")),
    )
    assert "s3" not in answered_by(farm, 20)
    faults.kill_agent(farm.lab, "s3")
    farm.lab.start_agent("s3")
    assert seen(farm, "s3", "s3")[0] is ServerState.DRAIN
    assert ipos(farm, "s2", "server", "set", "s3", "ready") == (0, "")
    status, said = ipos(farm, "s1", "server", "set", "s9", "drain")
    assert (status, said) == (1, "ipos: no server is called s9; there are s1, s2, s3\n")


def test_a_weight_given_anywhere_holds_everywhere_until_it_is_taken_back(farm: Farm) -> None:
    assert ipos(farm, "s1", "server", "set", "s3", "--weight", "9") == (0, "")
    wait_until("all have it", lambda: all(weights(farm, by) == [1, 1, 9] for by in farm.tables))
    faults.kill_agent(farm.lab, "s3")
    farm.lab.start_agent("s3")
    wait_until("it still has it", lambda: weights(farm, "s3") == [1, 1, 9])
    listed = json.loads(farm.run("s2", "ipos", "server", "list", "-o", "json"))
    assert [(row["weight"], row["weight_set"]) for row in listed] == [
        (1, None),
        (1, None),
        (9, 9),
    ]
    assert ipos(farm, "s2", "server", "set", "s3", "ready", "--weight", "default") == (0, "")
    wait_until("it is as configured", lambda: weights(farm, "s1") == [1, 1, 1])


def weights(farm: Farm, server: str) -> list[int]:
    pool = farm.tables[server].pools.get(0)
    return [] if pool is None else [one.weight for one in pool.candidates]


def test_a_stopped_application_is_not_chosen(farm: Farm) -> None:
    faults.kill_applications(farm.lab, "s2")
    try:
        wait_until("s2 is no candidate", lambda: 2 not in candidates(farm, "s1"))
        assert "s2" not in answered_by(farm, 20)
    finally:
        farm.lab.start_applications("s2")
    wait_until("s2 is a candidate", lambda: 2 in candidates(farm, "s1"))


def candidates(farm: Farm, server: str) -> set[int]:
    pool = farm.tables[server].pools.get(0)
    assert pool is not None
    return {candidate.server for candidate in pool.candidates}


def test_a_changed_file_is_taken_whole_or_not_at_all(farm: Farm) -> None:
    file = farm.lab.place("s1").config_file
    good = file.read_text()
    services = dict(farm.tables["s1"].services.items())
    try:
        file.write_text(good.replace("port = 80\n", "port = 8000\n").replace("= 2525", '= "x"'))
        status, said = ipos(farm, "s1", "reload")
        assert status == 1
        assert 'port is "x"; it must be a port number from 1 to 65535' in said
        assert dict(farm.tables["s1"].services.items()) == services
        file.write_text(good.replace('front = "front"', 'front = "back"'))
        status, said = ipos(farm, "s1", "reload")
        assert (status, "server.front cannot change" in said) == (1, True)
        file.write_text(good.replace("port = 80\n", 'port = 80\npolicy = "fixed"\n'))
        assert ipos(farm, "s1", "reload") == (0, "")
        assert answered_by(farm, 20) == {"s1"}
    finally:
        file.write_text(good)
        assert ipos(farm, "s1", "reload") == (0, "")
    assert dict(farm.tables["s1"].services.items()) == services


def test_an_agent_that_is_told_to_reload_while_it_starts_does(farm: Farm) -> None:
    faults.kill_agent(farm.lab, "s2")
    place = farm.lab.place("s2")
    before = agent_pid(farm, "s2")
    agents.launch(place)
    wait_until("it has begun", lambda: agent_pid(farm, "s2") != before)
    os.kill(agent_pid(farm, "s2"), signal.SIGHUP)
    wait_until("it is ready", (place.run_dir / "ready").exists, 20)
    wait_until(
        "it has read its file once more",
        lambda: snapshot.read(place.run_dir / "advertised.json").loaded == 2,
    )


def datagrams(farm: Farm, server: str) -> dict[str, int]:
    found = snapshot.read(farm.lab.place(server).run_dir / "advertised.json").datagrams
    return {reason: found.get(reason, 0) for reason in DROPPED}


def server_rows(farm: Farm, server: str) -> list[Any]:
    """What does not change by itself of every row."""
    return [
        (index, row.address, row.back_ip, row.mac, row.state, row.stale)
        for index, row in farm.tables[server].servers.items()
    ]


def test_forged_datagrams_change_nothing_and_are_counted(farm: Farm) -> None:
    """From a member's own address, which is as good a place as there is to forge from."""
    secret = (farm.lab.run_dir / "farm.key").read_bytes().strip()
    key = FarmKeys(secret).state
    now_ms = time.time_ns() // 1_000_000
    bad = {"services": [], "state": int(ServerState.MAINT), "farm": farm.lab.name}
    mine = state(3, sent_ms=now_ms, **bad)
    real = message.encode(msgspec.structs.replace(mine, boot=1), key)
    forged = {
        "replayed": real,
        "short": real[:16],
        "version": b"\7" + real[1:],
        "tag": message.encode(mine, bytes(16)),
        "malformed": b"\1hm" + message._tag(b"\1hm", key),
        "source": message.encode(state(2, sent_ms=now_ms, **bad), key),
        "clock": message.encode(msgspec.structs.replace(mine, sent_ms=now_ms - 60_000), key),
        "farm": message.encode(msgspec.structs.replace(mine, farm="other"), key),
    }
    assert set(forged) == set(DROPPED)
    before, rows = datagrams(farm, "s1"), server_rows(farm, "s1")
    with farm.inside("s3"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.bind(("10.77.0.3", 0))
        for datagram in forged.values():
            for _ in range(20):
                out.sendto(datagram, ("10.77.0.1", message.PORT))
    expected = {reason: count + 20 for reason, count in before.items()}
    wait_until("all are counted", lambda: datagrams(farm, "s1") == expected)
    assert server_rows(farm, "s1") == rows


def test_datagrams_from_the_front_side_do_not_arrive(farm: Farm) -> None:
    before = datagrams(farm, "s1")
    with farm.inside("client1"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for _ in range(20):
            out.sendto(bytes(64), ("203.0.113.1", message.PORT))
    farm.get()
    assert datagrams(farm, "s1") == before


def watch_flag(farm: Farm, server: str) -> bool:
    settings = farm.tables[server].settings.get(0)
    assert settings is not None
    return SettingsFlag.WATCH in settings.flags


def test_who_watches_sees_connections_of_milliseconds(farm: Farm) -> None:
    watch = ["ipos", "watch", "-o", "json"]
    watcher = farm.lab.popen("s1", watch, stdout=PIPE, stderr=PIPE, text=True)
    assert watcher.stdout is not None
    assert watcher.stderr is not None
    try:
        assert "watching" in watcher.stderr.readline()
        assert watch_flag(farm, "s1")
        served = []
        for _ in range(30):
            with farm.connect() as connection:
                connection.sendall(request())
                client = "{}:{}".format(*connection.getsockname())
                served.append((client, "new", read_answer(connection).served_by))
        told = [json.loads(watcher.stdout.readline()) for _ in served]
    finally:
        watcher.kill()
        watcher.communicate()
    assert [(each["client"], each["event"], each["server"]) for each in told] == served
    wait_until("the flag is cleared", lambda: not watch_flag(farm, "s1"))


def test_a_new_agent_clears_the_flag_of_a_dead_one(farm: Farm) -> None:
    switch(farm.tables["s2"], SettingsFlag.WATCH, on=True)
    faults.kill_agent(farm.lab, "s2")
    assert watch_flag(farm, "s2")
    farm.lab.start_agent("s2")
    assert not watch_flag(farm, "s2")


def test_one_agent_per_server(farm: Farm) -> None:
    status, said = ipos(farm, "s1", "agent", "--config", str(farm.lab.place("s1").config_file))
    assert status == 1
    assert said.startswith("ipos: an agent is running on this server already")


@contextmanager
def another_abi(farm: Farm, server: str) -> Iterator[None]:
    """A server whose agent has ended, and whose data plane says that it is of the next ABI."""
    os.kill(agent_pid(farm, server), signal.SIGTERM)
    wait_until("the agent has ended", lambda: "not running" in ipos(farm, server, "status")[1])
    with Map.open(pins(farm, server) / "abi") as number:
        number.update(bytes(4), (constant("IPOS_ABI") + 1).to_bytes(4, "little"))
        try:
            yield
        finally:
            number.update(bytes(4), constant("IPOS_ABI").to_bytes(4, "little"))
            farm.lab.start_agent(server)
            farm.__dict__.pop("tables", None)  # they may be of a data plane that has gone


def test_an_agent_leaves_a_data_plane_of_another_abi_alone(farm: Farm) -> None:
    config = str(farm.lab.place("s2").config_file)
    with another_abi(farm, "s2"):
        before = farm.tables["s2"].settings.get(0)
        for command in (["agent", "--config", config], ["status"], ["table", "server"]):
            status, said = ipos(farm, "s2", *command)
            assert status == 1
            assert f"has ABI {constant('IPOS_ABI') + 1} and goes on serving" in said
            assert "drain this server" in said
        assert farm.tables["s2"].settings.get(0) == before
        assert farm.get(server="s2").status == 200


def test_a_data_plane_of_another_abi_can_be_taken_away(farm: Farm) -> None:
    with another_abi(farm, "s2"):
        assert ipos(farm, "s2", "upgrade")[0] == 1
        assert ipos(farm, "s2", "detach") == (0, "")
        assert not pins(farm, "s2").exists()
    assert json.loads(ipos(farm, "s2", "status", "-o", "json")[1])["programs"] == "current"


def test_detach_leaves_nothing_and_the_others_know(farm: Farm) -> None:
    status, said = ipos(farm, "s3", "detach")
    assert (status, "stop it first" in said) == (1, True)
    os.kill(agent_pid(farm, "s3"), signal.SIGTERM)
    wait_until("the agent has ended", lambda: "not running" in ipos(farm, "s3", "status")[1])
    assert ipos(farm, "s3", "detach")[0] == 0
    try:
        wait_until("s3 is down", lambda: seen(farm, "s1", "s3")[0] is ServerState.DOWN)
        assert not pins(farm, "s3").exists()
        routes = farm.run("s3", "ip", "route", "show", "table", "local")
        assert "203.0.113.1" not in routes
        assert IPv4Address("203.0.113.3").exploded in routes
        with farm.inside("s3"):
            front = Path("/proc/sys/net/ipv4/conf/front/arp_ignore").read_text()
        assert front == "0\n"
        assert farm.run("s3", "ip", "-d", "link", "show", "front").count("xdp") == 0
        assert "s3" not in answered_by(farm, 20)
    finally:
        farm.lab.start_agent("s3")
        farm.__dict__.pop("tables", None)  # those of the data plane that has gone
