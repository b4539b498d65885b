# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.agents`: what the agents of a farm cost while nothing happens.

For each size of farm, all of it on this machine and without traffic: how long the last agent takes,
from its start, until every server knows every other as ready: without a data plane, as after boot,
and with one that an agent before it has left, as after `kill -9`; then, over some seconds, each
agent's CPU time (`/proc/PID/stat`) and what its back interface sends and receives. Before the last
one starts the others run and know each other: a machine of two cores could not load 64 data planes
within seconds. Tables are small (`[farm.limits]`), because each server has its own, and nobody
starts slowly, which has all agents write pools anew for ten seconds.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from bench.made_up import REAL
from ipos.abi.layout import layout
from ipos.abi.rows import ServerState
from ipos.errors import IposError
from ipos.kernel.libbpf.map_store import Map
from ipos.lab import agents, cgroups
from ipos.lab.lab import Lab
from ipos.lab.places import Place
from ipos.lab.plan import BACK_LAN, Settings

CONFIG = """\
[farm]
[farm.limits]
forward = 4096
local = 4096
connect = 4096
temporary = 4096
holding = 4096

[[service]]
name = "web"
port = 80
slow_start_ms = 0
"""
DISCOVERING = CONFIG.replace("[farm]\n", "[farm]\ndiscover = true\n", 1)
EVERYBODY = "10.77.0.255"
PATIENCE_S = 60.0
_ROW = layout("ipos_server")
_STATE, _STALE = _ROW.field("state").offset, _ROW.field("stale").offset


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one server, since its start: CPU seconds, and datagrams and bytes of its back LAN."""

    cpu_s: float
    sent: int
    received: int
    bytes_sent: int
    bytes_received: int


@dataclass(frozen=True, slots=True)
class Result:
    """`cpu` in percent of a core, one for each agent; the rest a second and server, on average."""

    servers: int
    complete_s: float
    again_s: float
    cpu: list[float]
    sent: float
    received: float
    bytes_sent: float
    bytes_received: float


def usage(pid: int) -> Usage:
    """By the process's own /proc: its network namespace is the server's."""
    proc = Path(f"/proc/{pid}")
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    line = next(
        line for line in (proc / "net/dev").read_text().splitlines() if f"{BACK_LAN}:" in line
    )
    numbers = [int(word) for word in line.partition(":")[2].split()]
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), numbers[9], numbers[1], numbers[8], numbers[0])


def pid_of(place: Place) -> int:
    return int((place.run_dir / "agent.lock").read_text())


def ready(place: Place, rows: int) -> int:
    """How many servers one takes for ready and heard lately; 0 while it has no data plane."""
    path = place.maps_dir / "servers"
    if not path.exists():
        return 0
    with Map.open(path) as servers:
        values = servers.first(rows)
    size = _ROW.size
    each = [values[at : at + size] for at in range(0, len(values), size)]
    return sum(row[_STATE] == ServerState.READY and not row[_STALE] for row in each)


def wait(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise IposError(f"{what} did not come in {PATIENCE_S:.0f} s")
        time.sleep(0.02)


def join(lab: Lab, *, detach: bool) -> float:
    """Seconds from the last server's new start until all know all. detach: without a data plane."""
    places, count = lab.places(), len(lab.servers)
    last = places[-1]
    if detach:
        cgroups.end(last.agent_cgroup)
        lab.run(last.node, ["ipos", "detach"], check=True, capture_output=True)
    else:
        cgroups.kill(last.agent_cgroup)
    wait(
        "that all miss one",
        lambda: all(ready(place, count + 1) == count - 1 for place in places[:-1]),
    )
    begun = time.monotonic()
    agents.launch(last)
    wait("that all know all", lambda: all(ready(place, count + 1) == count for place in places))
    return time.monotonic() - begun


def measure_among(made_up: int, seconds: float) -> list[float]:
    """CPU of each of three agents in percent of a core, among so many servers that only speak.

    These speak from the place of a fourth server, whose agent and data plane are taken away: what a
    machine sends as frames it does not hear itself.
    """
    settings = Settings(
        name=f"agents{os.getpid()}", servers=REAL + 1, clients=0, config=DISCOVERING, app="nginx"
    )
    with Lab(settings) as lab:
        *places, empty = lab.places()
        cgroups.end(empty.agent_cgroup)
        lab.run(empty.node, ["ipos", "detach"], check=True, capture_output=True)
        lab.run(empty.node, ["ip", "link", "set", "front", "down"], check=True)
        argv = [sys.executable, "-m", "bench.made_up", lab.name, str(lab.run_dir / "farm.key"),
                EVERYBODY, str(made_up)]  # fmt: skip
        speaking = lab.popen(empty.node, argv)
        try:
            count = REAL + made_up
            wait("that all know all", lambda: ready(places[0], count + 2) == count)
            time.sleep(10)
            pids = [pid_of(place) for place in places]
            before, since = [usage(pid) for pid in pids], time.monotonic()
            time.sleep(seconds)
            after, passed = [usage(pid) for pid in pids], time.monotonic() - since
            known = ready(places[0], count + 2)
            if known != count:
                raise IposError(f"only {known} of {count} servers are known as ready at the end")
        finally:
            speaking.terminate()
            speaking.wait()
    return [100 * (new.cpu_s - old.cpu_s) / passed for old, new in zip(before, after, strict=True)]


def measure(servers: int, seconds: float) -> Result:
    settings = Settings(
        name=f"agents{os.getpid()}", servers=servers, clients=0, config=CONFIG, app="nginx"
    )
    begun = time.monotonic()
    with Lab(settings) as lab:
        print(f"{servers} servers are up after {time.monotonic() - begun:.0f} s", file=sys.stderr)
        complete_s, again_s = join(lab, detach=True), join(lab, detach=False)
        time.sleep(5)  # what a start is followed by: the API's imports, processes' names
        pids = [pid_of(place) for place in lab.places()]
        before, since = [usage(pid) for pid in pids], time.monotonic()
        time.sleep(seconds)
        after, passed = [usage(pid) for pid in pids], time.monotonic() - since
    pairs = list(zip(before, after, strict=True))

    def each(read: Callable[[Usage], float]) -> float:
        return mean(read(new) - read(old) for old, new in pairs) / passed

    return Result(
        servers,
        complete_s,
        again_s,
        [100 * (new.cpu_s - old.cpu_s) / passed for old, new in pairs],
        each(lambda one: one.sent),
        each(lambda one: one.received),
        each(lambda one: one.bytes_sent),
        each(lambda one: one.bytes_received),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.agents", description=__doc__)
    parser.add_argument("--servers", type=int, nargs="*", default=[3, 64])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--made-up", type=int, nargs="*", default=[61, 250])
    options = parser.parse_args()
    print("servers  all know all after boot, kill -9  CPU: mean, most  of all  sent/s, received/s")
    for servers in options.servers:
        said = measure(servers, options.seconds)
        print(
            f"{said.servers:7}  {said.complete_s:21.1f} s, {said.again_s:6.1f} s  "
            f"{mean(said.cpu):12.2f} %, {max(said.cpu):5.2f} %  {sum(said.cpu):4.0f} %  "
            f"{said.sent:.0f} datagrams, {said.bytes_sent:.0f} bytes  "
            f"{said.received:.0f} datagrams, {said.bytes_received:.0f} bytes",
            flush=True,
        )
    for made_up in options.made_up:
        cpu = measure_among(made_up, options.seconds)
        told = ", ".join(f"{one:.2f} %" for one in cpu)
        print(f"{REAL} servers among {made_up} that only speak: CPU {told}", flush=True)


if __name__ == "__main__":
    main()
