# SPDX-License-Identifier: Apache-2.0
"""Agents that meet another agent, another configuration or damaged files; what detach leaves."""

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from subprocess import PIPE

import pytest

from ipos.abi import rows
from ipos.abi.layout import constant
from ipos.abi.rows import ServerState, SettingsFlags
from ipos.agent.heartbeat import orders
from ipos.agent.host.own_state import boottime_ns
from ipos.kernel import data_plane
from ipos.kernel.libbpf import RingBuffer
from ipos.kernel.libbpf.errors import MapError
from ipos.kernel.libbpf.map_store import Map
from ipos.kernel.pins import directory_name
from ipos.lab import Settings, cgroups, faults
from ipos.lab.lab import Lab
from tests.agent.live import (
    agent_pid,
    answered_by,
    ipos,
    pins,
    seen,
)
from tests.support.farm import CONFIG, Farm, wait_until

pytestmark = pytest.mark.farm


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Lab(Settings(name=f"af{os.getpid()}", config=CONFIG)) as lab:
        yield Farm(lab)


@pytest.fixture(autouse=True)
def whole(farm: Farm) -> None:
    """Every test finds all servers ready."""
    wait_until("every server is ready", farm.ready)


def test_one_agent_per_server(farm: Farm) -> None:
    status, said = ipos(farm, "s1", "agent", "--config", str(farm.lab.place("s1").config_file))
    assert status == 1
    assert said.startswith("ipos: an agent is running on this server already")


@contextmanager
def another_abi(farm: Farm, server: str) -> Iterator[None]:
    """A server whose agent has ended, and whose data plane says that it is of the next ABI."""
    cgroups.end(farm.lab.place(server).agent_cgroup)
    with Map.open(pins(farm, server) / "abi") as number:
        number.update(bytes(4), (constant("IPOS_ABI") + 1).to_bytes(4, "little"))
        try:
            yield
        finally:
            number.update(bytes(4), constant("IPOS_ABI").to_bytes(4, "little"))
            farm.lab.start_agent(server)
            farm.__dict__.pop("tables", None)  # they may be of a data plane that has gone


def test_a_reload_that_is_not_carried_out_whole_says_so(farm: Farm) -> None:
    """And nothing that has no room holds back what has."""
    place = farm.lab.place("s2")
    text = place.config_file.read_text()
    deny = farm.tables["s2"].deny
    junk = [rows.Prefix(32, IPv4Address(0x0A000000 + n)) for n in range(40_000)]
    try:
        with suppress(MapError):
            for row in junk:
                deny.put(row, 1)
        denied = 'deny = ["198.51.100.0/24", "198.51.101.0/24"]'
        place.config_file.write_text(text.replace("[farm]", f"[farm]\n{denied}", 1))
        status, said = ipos(farm, "s2", "reload")
        assert status == 1
        assert "the file is taken, but not all of it is: not in force: 2 denied networks" in said
        assert "map deny is full" in said
        assert "2 denied networks" in ipos(farm, "s2", "status")[1]
        assert ipos(farm, "s1", "server", "set", "s3", "drain", "--force")[0] == 0
        wait_until("s2 follows the others", lambda: seen(farm, "s2", "s3")[0] is ServerState.DRAIN)
        for row in junk[:2]:
            deny.delete(row)
        wait_until("there is room", lambda: "FAULT" not in ipos(farm, "s2", "status")[1])
        assert deny.get(rows.Prefix(24, IPv4Address("198.51.101.0"))) == 1
    finally:
        ipos(farm, "s1", "server", "set", "s3", "ready")
        for row in junk:
            deny.delete(row)
        place.config_file.write_text(text)
        assert ipos(farm, "s2", "reload") == (0, "")
    assert deny.count() == 0


def test_an_address_taken_out_of_the_file_leaves_front(farm: Farm) -> None:
    place = farm.lab.place("s2")
    text = place.config_file.read_text()
    line = 'addresses = ["203.0.113.2"]'
    assert line in text
    place.config_file.write_text(text.replace(line, 'addresses = ["203.0.113.2", "203.0.113.9"]'))
    try:
        assert ipos(farm, "s2", "reload") == (0, "")
        assert "203.0.113.9/32" in farm.run("s2", "ip", "address", "show", "front")
        wait_until(
            "the others take its packets",
            lambda: "203.0.113.9 " in farm.run("s1", "ip", "route", "show", "table", "local"),
        )
    finally:
        place.config_file.write_text(text)
        assert ipos(farm, "s2", "reload") == (0, "")
    assert "203.0.113.9" not in farm.run("s2", "ip", "address", "show", "front")
    assert "203.0.113.2" in farm.run("s2", "ip", "address", "show", "front")
    wait_until(
        "the others do so no more",
        lambda: "203.0.113.9 " not in farm.run("s1", "ip", "route", "show", "table", "local"),
    )


def test_a_capture_that_was_killed_ends(farm: Farm) -> None:
    """Its word that it reads is good for seconds; the agent clears the flag it has left."""
    tables, far = farm.tables["s2"], boottime_ns() + 60_000_000_000

    def is_on() -> bool:
        found = tables.settings.get(0)
        return found is not None and SettingsFlags.CAPTURE in found.flags

    place = farm.lab.place("s2")
    with place.popen(["ipos", "capture", "-w", "/dev/null"], stderr=PIPE, text=True) as capture:
        assert capture.stderr is not None
        assert capture.stderr.readline() == "capturing; Ctrl-C ends it\n"
        assert is_on()
        capture.kill()
    assert is_on()
    found: list[bytes] = []
    with (
        Map.open(pins(farm, "s2") / "maps" / "captured") as ring,
        RingBuffer(ring.fd, found.append) as reader,
    ):
        for until_ns in (far, 1):
            tables.capture_until.put(0, until_ns)
            reader.consume()
            found.clear()
            assert farm.get(server="s2").status == 200
            reader.consume()
            assert bool(found) is (until_ns == far)
    wait_until("the agent has cleared it", lambda: not is_on())


def test_another_secret_is_not_taken_by_a_restart_either(farm: Farm) -> None:
    place = farm.lab.place("s2")
    faults.kill_agent(farm.lab, "s2")
    text = place.config_file.read_text()
    file, secret = place.run_dir / "other.toml", place.run_dir / "other.key"
    secret.write_text("another secret of the farm")
    secret.chmod(0o600)
    file.write_text(re.sub(r"secret_file = .*", 'secret_file = "other.key"', text))
    before = farm.tables["s2"].settings.get(0)
    status, said = ipos(farm, "s2", "agent", "--config", str(file))
    assert (status, "not the one that the data plane here runs with" in said) == (1, True)
    assert farm.tables["s2"].settings.get(0) == before
    farm.lab.start_agent("s2")


def stands_still(pid: int) -> bool:
    """Whether none of its threads runs, nor is in the middle of a system call."""
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(thread.read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)


def stand_in_the_way(pid: int, obstacles: list[Path]) -> None:
    """Make directories where an agent is to write, while it stands still and has none of them open:
    one that is just writing would find its own file replaced.
    """

    def made() -> bool:
        os.kill(pid, signal.SIGSTOP)
        try:
            wait_until("the agent stands still", partial(stands_still, pid))
            if any(obstacle.exists() for obstacle in obstacles):
                return False
            for obstacle in obstacles:
                obstacle.mkdir()
        finally:
            os.kill(pid, signal.SIGCONT)
        return True

    wait_until("nothing is being written there", made, 30)


def test_no_state_file_ends_an_agent(farm: Farm) -> None:
    """Damaged while none runs, not to be written while one does: it says so and goes on."""
    run_dir = farm.lab.place("s2").run_dir
    names = ("orders.json", "changes.json", "advertised.json")
    assert ipos(farm, "s1", "server", "set", "s2", "--weight", "7")[0] == 0
    wait_until(
        "s2 has saved it",
        lambda: orders.Kept(run_dir / "orders.json").orders.weight_of("s2") == 7,
    )
    faults.kill_agent(farm.lab, "s2")
    obstacles = [run_dir / f".{name}.new" for name in names]
    for obstacle in obstacles:
        obstacle.unlink(missing_ok=True)  # it may have been killed while it wrote one
    for name, damage in zip(names, (b"", b'{"sysctls": {}, "a', bytes(100)), strict=True):
        (run_dir / name).write_bytes(damage)
    farm.lab.start_agent("s2")
    log = (run_dir / "agent.log").read_text()
    for name in names:
        assert f"{name} is damaged" in log
        assert (run_dir / f"{name}.damaged").exists()
    stand_in_the_way(agent_pid(farm, "s2"), obstacles)
    try:
        assert ipos(farm, "s2", "reload")[0] == 0
        assert ipos(farm, "s2", "server", "set", "s2", "--weight", "default") == (0, "")
        wait_until(
            "it has said so",
            lambda: "orders hold and will be saved later" in (run_dir / "agent.log").read_text(),
        )
    finally:
        for obstacle in obstacles:
            obstacle.rmdir()
    wait_until(
        "it is saved",
        lambda: orders.Kept(run_dir / "orders.json").orders.weight_of("s2") == 0,
    )
    assert farm.get(server="s2").status == 200


def test_an_agent_with_a_wrong_name_refuses_before_it_loads_anything(
    farm: Farm, tmp_path: Path
) -> None:
    place = farm.lab.place("s2")
    text = place.config_file.read_text()
    file = place.config_file.with_name("wrong.toml")
    mine = directory_name(farm.lab.name, "s2")
    for right, wrong in (('name = "s2"', 'name = "s9"'), (farm.lab.name, "other")):
        file.write_text(text.replace(right, wrong, 1))
        file.chmod(0o600)
        beside = ["env", f"IPOS_RUN_DIR={tmp_path}", "ipos", "agent", "--config", str(file)]
        done = farm.lab.run("s2", beside, capture_output=True, text=True)
        status, said = done.returncode, done.stderr
        assert (status, f"has the data plane {mine} (farm and server) already" in said) == (1, True)
    assert [path.name for path in place.pin_dir.iterdir()] == [mine]
    assert ipos(farm, "s2", "status")[0] == 0
    assert "203.0.113.1 " in farm.run("s2", "ip", "route", "show", "table", "local")


def test_one_of_several_data_planes_is_named(farm: Farm) -> None:
    place = farm.lab.place("s2")
    spare = place.pin_dir / directory_name(farm.lab.name, "spare")
    data_plane.load(data_plane.objects_directory(), spare)
    try:
        status, said = ipos(farm, "s2", "counters")
        assert (status, "spare (loaded, on no hook)" in said) == (1, True)
        assert "say which by --farm and --server" in said
        assert ipos(farm, "s2", "counters", "--server", "s2")[0] == 0
        assert "by --farm" not in ipos(farm, "s2", "status")[1], "the agent knows who it is"
        status, said = ipos(farm, "s2", "status", "--server", "spare")
        assert "the agent that runs here is that of s2" in said
        assert ipos(farm, "s2", "server", "list", "--farm", farm.lab.name, "--server", "s2")[0] == 0
        assert ipos(farm, "s2", "table", "server", "--server", "s7")[0] == 1
        assert ipos(farm, "s2", "detach", "--server", "spare") == (0, "")
        assert not spare.exists()
    finally:
        data_plane.detach(spare)
    assert farm.get(server="s2").status == 200
    assert "203.0.113.1 " in farm.run("s2", "ip", "route", "show", "table", "local")


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


def heard(farm: Farm, server: str) -> dict[str, int]:
    """When each other server last heard a word of this one."""
    rows = {one: farm.tables[one].servers.get(int(server[1:])) for one in ("s1", "s2")}
    return {one: row.updated_ns for one, row in rows.items() if row is not None}


def test_detach_leaves_nothing_and_the_others_know(farm: Farm) -> None:
    status, said = ipos(farm, "s3", "detach")
    assert (status, "stop it first" in said) == (1, True)
    cgroups.end(farm.lab.place("s3").agent_cgroup)
    wait_until("s3 is stale", lambda: seen(farm, "s1", "s3") == (ServerState.READY, True))
    silent = heard(farm, "s3")
    changes = farm.lab.place("s3").run_dir / "changes.json"
    changes.write_bytes(changes.read_bytes()[:-9])  # what is of ours is found without it
    status, said = ipos(farm, "s3", "detach")
    assert (status, "changes.json is damaged" in said) == (0, True)
    try:
        wait_until("s3 is down", lambda: seen(farm, "s1", "s3")[0] is ServerState.DOWN)
        after = heard(farm, "s3")
        for server, when_ns in after.items():
            assert when_ns > silent[server], f"{server} was told so, and did not find out"
        assert not pins(farm, "s3").exists()
        routes = farm.run("s3", "ip", "route", "show", "table", "local")
        assert "203.0.113.1" not in routes
        assert IPv4Address("203.0.113.3").exploded in routes
        with farm.inside("s3"):
            front = Path("/proc/sys/net/ipv4/conf/front/arp_ignore").read_text()
        assert front == "0\n"
        assert farm.run("s3", "ip", "-d", "link", "show", "front").count("xdp") == 0
        assert "s3" not in answered_by(farm, 20)
        _fails_to_start(farm)
    finally:
        farm.lab.start_agent("s3")
        farm.__dict__.pop("tables", None)  # those of the data plane that has gone


def _fails_to_start(farm: Farm) -> None:
    """An agent that cannot attach its programs says why, and leaves s3 as it was."""

    def settings() -> str:
        return farm.run("s3", "sh", "-c", "sysctl net.ipv4; ip -o address; ip route show table all")

    before = settings()
    config = str(farm.lab.place("s3").config_file)
    command = ["env", "IPOS_CGROUP=/nowhere", "ipos", "agent", "--config", config]
    done = farm.lab.run("s3", command, capture_output=True, text=True)
    assert (done.returncode, "/nowhere" in done.stdout + done.stderr) == (1, True)
    assert settings() == before
    assert not pins(farm, "s3").exists()
    assert not (farm.lab.place("s3").run_dir / "changes.json").exists()


TWICE = "10.77.0.1 has the address 203.0.113.77 too"


def is_ready(farm: Farm, by: str, server: str) -> bool:
    return seen(farm, by, server)[0] is ServerState.READY


def is_refused(farm: Farm, by: str) -> bool:
    """Whether a server says of s3 that it is out, and why."""
    is_out = seen(farm, by, "s3")[0] is not ServerState.READY
    return is_out and TWICE in ipos(farm, by, "status")[1]


def test_a_server_with_an_address_of_another_refuses_to_serve(farm: Farm) -> None:
    """s3 claims an address that s1 has: the newcomer loses, and everybody says so."""
    files = {server: farm.lab.place(server).config_file for server in ("s1", "s3")}
    before = {server: file.read_text() for server, file in files.items()}
    for server, file in files.items():
        own = f'addresses = ["{farm.address(server)}"'
        assert own in before[server]
        file.write_text(before[server].replace(own, f'{own}, "203.0.113.77"'))
    try:
        assert ipos(farm, "s1", "reload")[0] == 0
        faults.kill_agent(farm.lab, "s3")
        farm.lab.start_agent("s3")
        for by in ("s1", "s2", "s3"):
            wait_until("s3 is out", partial(is_refused, farm, by))
        for by in ("s1", "s2", "s3"):
            wait_until("s1 is not", partial(is_ready, farm, by, "s1"))
        assert answered_by(farm, 20) <= {"s1", "s2"}
        refused = farm.lab.run("client1", ["curl", "-sS", f"http://{farm.address('s3')}/"])
        assert refused.returncode == 7, "connection refused: it sends nobody to others either"
        assert TWICE in ipos(farm, "s3", "doctor")[1]
        assert TWICE in (farm.lab.place("s3").run_dir / "agent.log").read_text()
    finally:
        for server, file in files.items():
            file.write_text(before[server])
            assert ipos(farm, server, "reload")[0] == 0
            farm.lab.run(server, ["ip", "addr", "del", "203.0.113.77/32", "dev", "front"])
    wait_until("s3 serves", lambda: "s3" in answered_by(farm, 10), 30)
