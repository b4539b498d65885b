# SPDX-License-Identifier: Apache-2.0
"""Programs that programs on the servers have the farm run: found, reached, ended."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from sys import executable
from typing import Any, Final

import pytest

from ipos.lab import Lab, Settings, cgroups
from tests.support.farm import SERVERS, Farm, wait_until

pytestmark = pytest.mark.farm

FIRST, LAST = 20000, 20003
WORKER: Final = Path(__file__).parent / "clients" / "spawned_worker.py"
COMMAND: Final = json.dumps([executable, str(WORKER), "{port}"])
CONFIG: Final = f"""\
[farm]
own_programs = "farm"

[[service]]
name = "web"
port = 80

[[spawn]]
name = "worker"
command = {COMMAND}
ports = "{FIRST}-{LAST}"
args = ["--size=*", "--broken"]
"""


@pytest.fixture(scope="module")
def whole() -> Iterator[Farm]:
    with Lab(Settings(name=f"sp{os.getpid()}", app="none", config=CONFIG)) as lab:
        farm = Farm(lab)
        wait_until("every server ready", farm.ready, 30)
        yield farm


@pytest.fixture
def farm(whole: Farm) -> Iterator[Farm]:
    """In which nothing that was spawned runs, before and after."""
    yield whole
    for server in SERVERS:
        whole.run(server, "ipos", "spawn", "--stop", "all")
    wait_until("nothing runs", lambda: not any(map(_groups, whole.lab.places())), 20)


def _groups(place: Any) -> list[Path]:
    """The cgroups of what a server has spawned, as far as there are processes in them."""
    found = place.cgroup.glob("ipos-*worker:*")
    return [one for one in found if (one / "cgroup.procs").read_text()]


class Caller:
    """A process on a server that has programs spawned: a Python program with `ipos.spawn`."""

    SCRIPT: Final = """
import ipos, json, sys
for line in sys.stdin:
    try:
        made = ipos.spawn("worker", json.loads(line))
        print(json.dumps([made.host, made.port, made.server, made.call]), flush=True)
    except Exception as error:
        print(json.dumps(str(error)), flush=True)
"""

    def __init__(self, farm: Farm, server: str) -> None:
        self.process = farm.lab.popen(
            server, [executable, "-c", self.SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def ask(self, *args: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(args) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def reached(farm: Farm, server: str, address: tuple[str, int]) -> list[Any] | None:
    """What the program at an address says to a process of a server; None: it is refused."""
    with farm.inside(server):
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(10)
    with client, suppress(ConnectionRefusedError, ConnectionResetError):
        client.connect(address)
        with client.makefile("rwb") as stream:
            told = stream.readline()
            stream.write(b"hello\n")
            stream.flush()
            assert stream.readline() == b"hello\n"
        found: list[Any] = json.loads(told)
        return found
    return None


def is_refused(farm: Farm, server: str, address: tuple[str, int]) -> bool:
    return reached(farm, server, address) is None


def listed(farm: Farm, server: str) -> dict[str, dict[str, Any]]:
    rows = json.loads(farm.run(server, "ipos", "spawn", "--list", "-o", "json"))
    return {row["call"]: row for row in rows}


def test_three_are_spawned_reached_from_everywhere_killed_and_stopped(farm: Farm) -> None:
    with closing(Caller(farm, "s1")) as caller:
        made = [caller.ask(f"--size={number}") for number in range(3)]
        assert all(isinstance(one, list) for one in made), made
        places = [(host, port) for host, port, *_ in made]
        assert len(set(places)) == 3
        processes = []
        for number, (*_, where, _call) in enumerate(made):
            told = [reached(farm, server, places[number]) for server in SERVERS]
            assert told[0] is not None, made[number]
            assert told == [told[0]] * 3, "from each server it is the same one"
            assert (told[0][0], told[0][2]) == (where, [f"--size={number}"])
            processes.append(told[0][1])
        assert len(set(processes)) == 3, "one process for each call"
        # It ends by itself: nothing takes its place, and its caller is told.
        os.kill(processes[0], signal.SIGKILL)
        call = made[0][3]
        wait_until("its end is known", lambda: listed(farm, "s1")[call]["state"] == "ended")
        assert "ended by SIGKILL" in listed(farm, "s1")[call]["why"]
        wait_until("it is refused", lambda: reached(farm, "s2", places[0]) is None)
        for number in (1, 2):
            other = reached(farm, "s3", places[number])
            assert other is not None
            assert other[1] == processes[number], "the others go on"
        farm.run("s1", "ipos", "spawn", "--stop", "all")
        for number in (1, 2):
            wait_until("it is gone", partial(is_refused, farm, "s2", places[number]))
        assert {row["state"] for row in listed(farm, "s1").values()} == {"ended"}


def test_clients_from_outside_do_not_reach_it(farm: Farm) -> None:
    with closing(Caller(farm, "s2")) as caller:
        host, port, *_ = caller.ask()
        assert reached(farm, "s1", (host, port)) is not None
        before = farm.all_counters()
        with farm.unconnected() as client:
            client.settimeout(0.5)
            with pytest.raises(TimeoutError):
                client.connect((host, port))
        after = farm.all_counters()
        assert any(after[one]["drop_own_only"] > before[one]["drop_own_only"] for one in SERVERS)


def test_it_ends_with_its_caller(farm: Farm) -> None:
    with closing(Caller(farm, "s3")) as caller:
        host, port, *_ = caller.ask("--size=7")
        assert reached(farm, "s1", (host, port)) is not None
    wait_until("it is gone", lambda: reached(farm, "s1", (host, port)) is None)
    wait_until("its process, too", lambda: not any(map(_groups, farm.lab.places())))


def test_what_is_not_allowed_or_fails_is_a_sentence(farm: Farm) -> None:
    with closing(Caller(farm, "s1")) as caller:
        assert "takes no argument '--fast'" in caller.ask("--fast")
        said = caller.ask("--broken")
        assert "worker was not spawned" in said
        assert said.count("its command ended with status 7") == 3, "each server has tried it once"
        made = [caller.ask() for _ in range(LAST - FIRST + 1)]
        assert all(isinstance(one, list) for one in made), made
        assert "all 4 ports of worker are in use" in caller.ask()
    status, said = _spawns(farm, "s1", "shop")
    assert status == 1
    assert "no [[spawn]] is called shop; there is worker" in said


def _spawns(farm: Farm, server: str, *words: str) -> tuple[int, str]:
    done = farm.lab.run(server, ["ipos", "spawn", *words], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_the_shell_spawns_and_an_agent_that_ends_stops_nothing(farm: Farm) -> None:
    shell = farm.lab.popen("s1", ["sleep", "1000"])
    try:
        status, said = _spawns(farm, "s1", "worker", "--for", str(shell.pid), "--", "--size=9")
        assert status == 0, said
        host, _, port = said.strip().rpartition(":")
        address = host, int(port)
        before = reached(farm, "s2", address)
        for server in SERVERS:
            place = farm.lab.place(server)
            cgroups.end(place.agent_cgroup)
            farm.lab.start_agent(server)
            wait_until("every server ready", farm.ready, 30)
        assert reached(farm, "s2", address) == before
        assert before is not None
        assert before[2] == ["--size=9"]
    finally:
        shell.kill()
        shell.wait()
    wait_until("it is gone", lambda: reached(farm, "s2", address) is None, 20)
