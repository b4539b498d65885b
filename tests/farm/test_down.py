# SPDX-License-Identifier: Apache-2.0
"""The end of a farm: nothing of it is left on the machine, whatever it was doing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipos.kernel.libbpf import syscall
from ipos.lab import Lab, Settings, cgroups, cleaning, faults, namespaces
from ipos.lab.places import PINS, Place
from tests.support.farm import CONFIG, Farm, wait_until

pytestmark = pytest.mark.farm


def _links() -> set[str]:
    return {each["ifname"] for each in json.loads(subprocess.check_output(["ip", "-j", "link"]))}


def _routes() -> bytes:
    return subprocess.check_output(["ip", "route", "show", "table", "all"])


def _files_below(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if not path.is_dir()]


def _programs(place: Place) -> set[int]:
    """The ids of a server's loaded programs."""
    ids = set()
    for pin in place.pin_dir.glob("*/progs/*"):
        descriptor = syscall.open_pinned(pin)
        ids.add(syscall.program_info(descriptor).id)
        os.close(descriptor)
    return ids


def _is_loaded(number: int) -> bool:
    """Whether the kernel has a program; it keeps one that is on a hook or pinned anywhere."""
    try:
        os.close(syscall.program_fd_by_id(number))
    except FileNotFoundError:
        return False
    return True


def _wait_unloaded(programs: set[int]) -> None:
    wait_until("no program loaded", lambda: not any(map(_is_loaded, programs)))


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_down_leaves_nothing_in_the_middle_of_traffic() -> None:
    lab = Lab(Settings(name=f"ft{os.getpid()}-d", servers=2, config=CONFIG))
    links, routes = _links(), _routes()
    lab.up()
    farm = Farm(lab)
    wait_until("every server ready", farm.ready)
    inside = {place.node: _files_below(place.pin_dir) for place in lab.places()}
    assert all(inside.values()), "there were pins to remove"
    load = lab.popen(
        "client1",
        ["wrk", "-t1", "-c8", "-d60s", f"http://{farm.address('s1')}/"],
        stdout=subprocess.DEVNULL,
    )
    wait_until("traffic", lambda: farm.counters("s1")["adopted"] >= 1)
    programs = set().union(*map(_programs, lab.places()))
    pids = cgroups.processes(cgroups.path_of(lab.name))
    assert load.pid in pids
    assert lab.down()
    load.wait()

    assert cleaning.remains(lab.name) == []
    assert not any(_runs(pid) for pid in pids)
    _wait_unloaded(programs)
    assert not any(PINS.glob(f"{lab.name}[-:]*"))
    assert not any(namespaces.DIRECTORY.glob(f"ipos-{lab.name}-*"))
    assert _links() == links
    assert _routes() == routes
    assert not lab.down(), "and again there is nothing to do"


def _served_by_s2(farm: Farm) -> bool:
    """By a router that asks anew: it may believe what it knows for the better part of a minute."""
    faults.flush_neighbours(farm.lab)
    with farm.connect(80, "s2") as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"X-Served-By: s2" in connection.recv(65536)


def test_detach_gives_a_server_back() -> None:
    """After `ipos detach` nothing of ours is in a server's network, and it serves as before."""
    lab = Lab(Settings(name=f"ft{os.getpid()}-g", servers=2, config=CONFIG))
    with lab:
        farm = Farm(lab)
        wait_until("every server ready", farm.ready)
        log = lab.place("s2").run_dir / "agent.log"
        wait_until("it says so, once", lambda: log.read_text().count(" event=serving ") == 1)
        programs = _programs(lab.place("s2"))
        assert len(programs) >= 4, "XDP, ingress, egress, sockops"
        assert all(map(_is_loaded, programs))
        assert farm.address("s1") in farm.run("s2", "ip", "route", "show", "table", "local")
        cgroups.end(lab.place("s2").agent_cgroup)
        done = lab.run("s2", ["ipos", "detach"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert _files_below(lab.place("s2").pin_dir) == []
        for interface in ("front", "back"):
            shown = farm.run("s2", "ip", "-d", "link", "show", "dev", interface)
            assert "xdp" not in shown
        _wait_unloaded(programs)
        foreign = farm.run("s2", "ip", "route", "show", "table", "local")
        assert farm.address("s1") not in foreign, "the others' addresses are not local any more"
        # It stands in for s2 until it hears that another machine answers for the address.
        wait_until("s1 leaves the address to it", lambda: _served_by_s2(farm), 30)


def test_an_agent_that_is_killed_leaves_a_data_plane_that_down_removes() -> None:
    lab = Lab(Settings(name=f"ft{os.getpid()}-k", servers=1, config=CONFIG))
    lab.up()
    programs = _programs(lab.place("s1"))
    cgroups.kill(lab.place("s1").agent_cgroup)
    assert all(map(_is_loaded, programs))
    command = [str(Path(sys.executable).with_name("ipos")), "lab", "down", "--name", lab.name]
    subprocess.run(command, check=True, capture_output=True)
    _wait_unloaded(programs)
    assert cleaning.remains(lab.name) == []


def _network(farm: Farm) -> list[str]:
    """Addresses, local routes and settings of s1."""
    wanted = r"^net\.(mptcp\.enabled|ipv4\.(conf\.(front|back)\..*|tcp_(rfc1337|syncookies))) ="
    settings = ["-c", f"sysctl -a 2>/dev/null | grep -E '{wanted}'"]
    return [
        farm.run("s1", "ip", "-4", "-o", "address", "show"),
        farm.run("s1", "ip", "-4", "route", "show", "table", "local"),
        farm.run("s1", "sh", *settings),
    ]


def test_a_start_that_fails_leaves_nothing() -> None:
    """The network is prepared and the programs are loaded; then a hook is not to be had."""
    with Lab(Settings(name=f"ft{os.getpid()}-f", servers=1, clients=0, config=CONFIG)) as lab:
        farm, place = Farm(lab), lab.place("s1")
        served = _network(farm)
        cgroups.end(place.agent_cgroup)
        assert lab.run("s1", ["ipos", "detach"]).returncode == 0
        before = _network(farm)
        assert before != served
        start = ["env", f"IPOS_CGROUP={place.run_dir}", "ipos", "agent"]
        done = lab.run("s1", start, capture_output=True, text=True, timeout=30)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("ipos: ")
        assert "Traceback" not in done.stderr
        assert _network(farm) == before
        assert _files_below(place.pin_dir) == []
        assert "xdp" not in farm.run("s1", "ip", "-d", "link", "show", "dev", "front")
        assert not (place.run_dir / "ready").exists()
        again = lab.run("s1", ["ipos", "detach"], capture_output=True, text=True)
        assert "nothing to detach" in again.stderr
