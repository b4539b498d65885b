# SPDX-License-Identifier: Apache-2.0
"""Three real agents in a lab: who dies, who is believed, what is taken, what is left behind."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from subprocess import PIPE

import msgspec
import pytest

from ipos.abi.rows import ServerState, SettingsFlags
from ipos.agent.heartbeat import datagram_tags, message
from ipos.agent.snapshot import snapshot
from ipos.handshake.keys import FarmKeys
from ipos.kernel import data_plane
from ipos.kernel.maps import switch
from ipos.lab import Settings, agents, faults
from ipos.lab.lab import Lab
from tests.agent.live import (
    DROPPED,
    agent_pid,
    answered_by,
    candidates,
    datagrams,
    ipos,
    kept_by,
    pins,
    seen,
    server_rows,
    watch_flag,
    weights,
)
from tests.agent.made_up_farm import state
from tests.support.farm import CONFIG, ELSEWHERE, THIRD, Farm, read_answer, request, wait_until

pytestmark = pytest.mark.farm


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Lab(Settings(name=f"ag{os.getpid()}", config=CONFIG)) as lab:
        yield Farm(lab)


@pytest.fixture(autouse=True)
def whole(farm: Farm) -> None:
    """Every test finds all servers ready."""
    wait_until("every server is ready", farm.ready)


def test_a_killed_agent_leaves_its_server_serving_and_the_next_adopts_it(farm: Farm) -> None:
    before = data_plane.adopt(pins(farm, "s2"))
    faults.kill_agent(farm.lab, "s2")
    wait_until("s2 is stale", lambda: seen(farm, "s1", "s2") == (ServerState.READY, True))
    row = farm.tables["s1"].servers.get(2)
    assert row is not None
    wait_until(
        "two seconds of silence",
        lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) - row.updated_ns > 2_000_000_000,
    )
    assert seen(farm, "s1", "s2") == (ServerState.READY, True)
    assert farm.get(port=ELSEWHERE).served_by == "s2"
    assert ipos(farm, "s2", "status")[0] == 0
    farm.lab.start_agent("s2")
    assert data_plane.adopt(pins(farm, "s2")) == before
    wait_until("s2 is fresh", lambda: seen(farm, "s1", "s2") == (ServerState.READY, False))


def test_an_agent_that_starts_asks_before_it_forgets(farm: Farm) -> None:
    """s2 has no agent any more and serves: that of s1 starts anew and knows it all the same."""
    faults.kill_agent(farm.lab, "s2")
    wait_until("s2 is stale", lambda: seen(farm, "s1", "s2") == (ServerState.READY, True))
    try:
        with kept_by(farm, "s2") as kept:
            faults.kill_agent(farm.lab, "s1")
            farm.lab.start_agent("s1")  # returns when it has settled
            assert seen(farm, "s1", "s2") == (ServerState.READY, True)
            kept.sendall(request(close=False))
            assert read_answer(kept).served_by == "s2"
        assert farm.get(port=ELSEWHERE).served_by == "s2"
        row = farm.tables["s1"].servers.get(2)
        assert row is not None
        assert farm.tables["s1"].members.get(row.mac) == 2
        data_plane.detach(pins(farm, "s2"))
        wait_until("s2 is down", lambda: seen(farm, "s1", "s2")[0] is ServerState.DOWN)
    finally:
        farm.lab.start_agent("s2")
        farm.__dict__.pop("tables", None)
    wait_until("s2 is fresh", lambda: seen(farm, "s1", "s2") == (ServerState.READY, False))


def test_a_stopped_agent_is_stale_and_wakes_without_doubting_the_others(farm: Farm) -> None:
    """Nor itself: its data plane answered all the time, so nobody has its address."""
    pid, log = agent_pid(farm, "s3"), farm.lab.place("s3").run_dir / "agent.log"
    before = log.read_text()
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until("s3 is stale", lambda: seen(farm, "s1", "s3") == (ServerState.READY, True))
        assert farm.get(port=THIRD).served_by == "s3"
        asked = farm.counters("s3")["probe_answered"]
        # Two servers ask ten times a second each: longer than an agent may be away unnoticed.
        wait_until(
            "a second has passed", lambda: farm.counters("s3")["probe_answered"] >= asked + 20
        )
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until("s3 is fresh", lambda: seen(farm, "s1", "s3") == (ServerState.READY, False))
    said = log.read_text().removeprefix(before)
    assert "down" not in said
    assert "gave an address up" not in said


def test_a_server_without_its_data_plane_is_down_though_its_kernel_lives(farm: Farm) -> None:
    before = farm.counters("s2")["probe_answered"]
    faults.kill_agent(farm.lab, "s2")
    wait_until("s2 is stale", lambda: seen(farm, "s1", "s2") == (ServerState.READY, True))
    assert farm.counters("s2")["probe_answered"] > before
    data_plane.detach(pins(farm, "s2"))
    try:
        wait_until("s2 is down", lambda: seen(farm, "s1", "s2")[0] is ServerState.DOWN)
        assert "s2" not in answered_by(farm, 20)
    finally:
        farm.lab.start_agent("s2")
        farm.__dict__.pop("tables", None)  # those of the data plane that has gone
    wait_until("s2 is back", lambda: seen(farm, "s1", "s2") == (ServerState.READY, False))


def test_a_server_without_power_is_down_and_comes_back(farm: Farm) -> None:
    faults.cut_power(farm.lab, "s2")
    started = time.monotonic()
    try:
        wait_until("s2 is down", lambda: seen(farm, "s1", "s2")[0] is ServerState.DOWN)
        print(f"s2 was down after {time.monotonic() - started:.2f} s")
        assert "s2" not in answered_by(farm, 20)
    finally:
        faults.restore_power(farm.lab, "s2")
    wait_until("s2 is back", lambda: seen(farm, "s1", "s2") == (ServerState.READY, False))


def test_an_order_given_anywhere_holds_everywhere_and_over_a_restart(farm: Farm) -> None:
    assert ipos(farm, "s1", "server", "set", "s3", "drain", "--force") == (0, "")
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


def test_a_stopped_application_is_not_chosen(farm: Farm) -> None:
    faults.kill_applications(farm.lab, "s2")
    try:
        wait_until("s2 is no candidate", lambda: 2 not in candidates(farm, "s1"))
        assert "s2" not in answered_by(farm, 20)
        said = "FAULT  s2 serves nothing: no application of a service listens there"
        wait_until("another server says so", lambda: said in ipos(farm, "s1", "status")[1])
    finally:
        farm.lab.start_applications("s2")
    wait_until("s2 is a candidate", lambda: 2 in candidates(farm, "s1"))


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


def test_forged_datagrams_change_nothing_and_are_counted(farm: Farm) -> None:
    """From a member's own address, which is as good a place as there is to forge from."""
    secret = (farm.lab.run_dir / "farm.key").read_bytes().strip()
    key = FarmKeys(secret, farm.lab.name).state
    now_ms = time.time_ns() // 1_000_000
    bad = {"services": [], "state": int(ServerState.MAINT), "farm": farm.lab.name}
    mine = state(3, sent_ms=now_ms, **bad)
    real = message.encode(msgspec.structs.replace(mine, boot=1), key)
    malformed = bytes([message.VERSION]) + b"hm"
    forged = {
        "replayed": real,
        "short": real[:16],
        "version": b"\7" + real[1:],
        "tag": message.encode(mine, bytes(16)),
        "malformed": malformed + datagram_tags.tag(malformed, key),
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
    switch(farm.tables["s2"], SettingsFlags.WATCH, on=True)
    faults.kill_agent(farm.lab, "s2")
    assert watch_flag(farm, "s2")
    farm.lab.start_agent("s2")
    assert not watch_flag(farm, "s2")
