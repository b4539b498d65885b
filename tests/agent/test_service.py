# SPDX-License-Identifier: Apache-2.0
"""The systemd unit: what it says is right, and the agent does under it what it says."""

import configparser
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ipos.kernel.maps import Tables
from ipos.lab import Settings, agents, faults
from ipos.lab.lab import Lab
from tests.support.farm import wait_until

UNIT = Path(__file__).parents[2] / "packaging" / "ipos-agent.service"
CONTAINERS = UNIT.with_name("containers.conf")


def unit(file: Path = UNIT) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(file)
    return parser["Service"]


def bounded(*files: Path) -> list[str]:
    """What runs a command with no more capabilities than the unit and its drop-ins give."""
    sets = [unit(file)["CapabilityBoundingSet"].split() for file in files]
    names = [name.lower().removeprefix("cap_") for names in sets for name in names]
    return ["setpriv", f"--bounding-set=-all,{','.join(f'+{one}' for one in names)}",
            "--inh-caps=-all"]  # fmt: skip


def test_stopping_the_unit_ends_the_agent_alone_and_a_dead_one_comes_back() -> None:
    service = unit()
    assert (service["Type"], service["KillMode"], service["Restart"]) == (
        "notify",
        "process",
        "always",
    )
    assert service["RuntimeDirectoryPreserve"] == "yes"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_no_fault() -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", UNIT], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_it_is_exposed_no_more_than_the_page_says() -> None:
    """The threshold is in tenths; its exit status says whether the unit is above it."""
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    (said,) = re.findall(r"`systemd-analyze security` says (\d\.\d)", page)
    assert float(said) <= 4.0
    for threshold, status in ((said, 0), (f"{float(said) - 0.1:.1f}", 1)):
        argv = ["systemd-analyze", "security", "--offline=true", "--no-pager",
                f"--threshold={threshold.replace('.', '')}", str(UNIT)]  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout[-500:]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_no_fault_with_the_drop_in_for_containers(tmp_path: Path) -> None:
    shutil.copy(UNIT, tmp_path)
    drop_ins = tmp_path / f"{UNIT.name}.d"
    drop_ins.mkdir()
    shutil.copy(CONTAINERS, drop_ins)
    path = os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    argv = ["systemd-analyze", "verify", "--man=no", str(tmp_path / UNIT.name)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=path)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    said = unit(CONTAINERS)
    assert set(said) == {"CapabilityBoundingSet", "RestrictNamespaces"}
    assert unit()["RestrictNamespaces"] == "yes"
    assert said["RestrictNamespaces"] == "no"


@pytest.mark.farm
def test_an_agent_enters_containers_with_the_drop_in_and_says_that_it_needs_it() -> None:
    name = f"sd{os.getpid()}"
    with Lab(Settings(name=name, servers=1, clients=1, boxed=True)) as lab:
        config = str(lab.place("s1").config_file)
        get = ["curl", "-sf", "-m", "5", f"http://{lab.front('s1')}/"]

        def found() -> str:
            """What the doctor says of containers."""
            return next(line for line in ipos(lab, "doctor").stdout.splitlines()
                        if line[5:].startswith("containers"))  # fmt: skip

        def serves() -> bool:
            return lab.run("client1", get, capture_output=True).returncode == 0

        ready = run_dir(lab) / "ready"
        os.kill(agent_pid(lab), signal.SIGTERM)
        wait_until("the agent has ended", lambda: not ready.exists())
        for files, says in (([UNIT], "FIX"), ([UNIT, CONTAINERS], "ok")):
            agent = lab.popen("s1", [*bounded(*files), "ipos", "agent", "--config", config])
            try:
                wait_until("it is ready", ready.exists, 60)
                if says == "ok":
                    wait_until("it serves", serves, 30)
                else:
                    wait_until("it does not serve", lambda: not serves(), 30)
                    assert CONTAINERS.name in ipos(lab, "status").stdout
                assert found().startswith(says)
                assert (CONTAINERS.name in found()) == (says == "FIX")
            finally:
                agent.terminate()
                agent.wait()


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(Settings(name=f"sv{os.getpid()}", servers=1, clients=1)) as built:
        os.kill(agent_pid(built), signal.SIGTERM)
        wait_until("the agent has ended", lambda: not (run_dir(built) / "ready").exists())
        wait_until("detached", lambda: ipos(built, "detach").returncode == 0)
        yield built


def run_dir(lab: Lab) -> Path:
    return lab.place("s1").run_dir


def agent_pid(lab: Lab) -> int:
    return int((run_dir(lab) / "agent.lock").read_text())


def ipos(lab: Lab, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return lab.run("s1", ["ipos", *arguments], capture_output=True, text=True)


@pytest.mark.farm
def test_a_new_agent_takes_no_application_out_that_it_has_not_asked_yet() -> None:
    """The only server of a farm, whose application needs a second for its answer."""
    config = '[[service]]\nname = "web"\nport = 80\ncheck = { http = "/slow/1" }\n'
    with Lab(Settings(name=f"sc{os.getpid()}", servers=1, clients=0, config=config)) as lab:
        pools = Tables(lab.place("s1").maps_dir).pools

        def serves() -> bool:
            pool = pools.get(0)
            return pool is not None and len(pool.candidates) == 1

        wait_until("its check has passed", serves)
        faults.kill_agent(lab, "s1")
        agents.launch(lab.place("s1"))
        ready = run_dir(lab) / "ready"
        wait_until("the new agent is ready", lambda: not serves() or ready.exists())
        end = time.monotonic() + 0.5
        while serves() and time.monotonic() < end:
            pass
        assert serves()


class Manager:
    """A service manager's end of sd_notify, which never lets messages wait."""

    def __init__(self, path: Path) -> None:
        self._said: queue.Queue[str] = queue.Queue()
        self._end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._end.bind(str(path))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while said := self._end.recv(4096).decode():
            self._said.put(said.split("\n")[0])

    def hears(self, line: str) -> None:
        """The next message but for the watchdog's begins so."""
        deadline = time.monotonic() + 20
        while True:
            said = self._said.get(timeout=max(0, deadline - time.monotonic()))
            if said == line or said != "WATCHDOG=1":
                break
        assert said == line

    def close(self) -> None:
        self._end.shutdown(socket.SHUT_RD)
        self._reader.join()
        self._end.close()


@pytest.mark.farm
def test_the_agent_with_the_units_capabilities_alone(lab: Lab, tmp_path: Path) -> None:
    config = str(lab.place("s1").config_file)
    with closing(Manager(tmp_path / "notify")) as manager, (tmp_path / "log").open("w") as log:
        agent = lab.popen(
            "s1",
            [*bounded(UNIT), "ipos", "agent", "--config", config],
            env={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"},
            stderr=log,
        )
        try:
            manager.hears("READY=1")
            manager.hears("WATCHDOG=1")
            address = lab.front("s1")
            answer = lab.run("client1", ["curl", "-sf", f"http://{address}/"], capture_output=True)
            assert answer.returncode == 0
            told = json.loads(ipos(lab, "explain", f"http://{address}/", "-o", "json").stdout)
            assert [(one["server"], one["share"]) for one in told["servers"]] == [("s1", 1.0)]
            assert ipos(lab, "server", "set", "s1", "drain", "--force").stderr == ""
            assert ipos(lab, "server", "set", "s1", "ready").stderr == ""
            done = ipos(lab, "reload")
            assert (done.returncode, done.stderr) == (0, "")
            manager.hears("RELOADING=1")
            manager.hears("READY=1")
            agent.terminate()
            manager.hears("STOPPING=1")
            assert agent.wait(10) == 0
        finally:
            agent.kill()
            agent.wait()
    said = (tmp_path / "log").read_text().splitlines()
    assert [line for line in said if "level=info" not in line] == []
    assert not (run_dir(lab) / "api.sock").exists()
