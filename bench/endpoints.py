# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.endpoints`: how long a connection stands still while it migrates with its state.

One connection goes to and fro between two servers, with a few bytes of state and nothing in its
queues. The time is the giver's: from freezing the endpoint until it hears that the other's is live,
which is one way more than the client waits. Beside it, in the same run and as the agents do it: a
socket is read and another made of it by TCP_REPAIR alone, and a datagram goes from one server to
the other and back.
"""

import argparse
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

from ipos.agent.endpoints import image, tcp_repair
from ipos.agent.endpoints.transfer_message import PORT as AGENTS_PORT
from ipos.errors import IposError
from ipos.lab import namespaces
from ipos.lab.lab import Lab
from ipos.lab.plan import BACK_LAN, Settings

PORT = 4007
SERVERS = ("s1", "s2")
_CONFIG = f"""\
[[service]]
name = "echo"
port = {PORT}
"""
_REPAIR_PORT, _ECHO_PORT = 4100, 4101
_STILL = re.compile(r"still_us=(\d+)")
_PARTS = {
    "read": "freezing and reading it, until its image is sent",
    "made": "until the taker's answer that it has made a socket of it",
    "told": "until the taker's answer that it is live",
}


def quantiles(took_us: list[float]) -> tuple[float, float]:
    """p50 and p99."""
    ordered = sorted(took_us)
    return ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]


def repaired(lab: Lab, count: int) -> list[float]:
    """Microseconds to read a quiet socket, and to make another of it, on one machine."""
    took = []
    with namespaces.entered(lab.place("s1").namespace), ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", _REPAIR_PORT)))
        client = stack.enter_context(socket.create_connection(listener.getsockname()))
        ours, where = listener.accept()
        for _ in range(count):
            client.sendall(b"x")
            ours.recv(1)
            started = time.perf_counter()
            tcp_repair.freeze(ours)
            raw = image.encode(tcp_repair.dump(ours, image.NOTHING_KNOWN, 1 << 20))
            tcp_repair.leave(ours)
            ours.close()
            ours = tcp_repair.begin(socket.AF_INET, 0)
            tcp_repair.restore(ours, image.decode(raw), listener.getsockname(), where)
            tcp_repair.go_live(ours)
            took.append(1e6 * (time.perf_counter() - started))
        ours.close()
    return took


def round_trips(lab: Lab, count: int) -> list[float]:
    """Microseconds for a datagram on back to the other server and back, between two threads."""
    ends = []
    for nth, server in enumerate(SERVERS):
        with namespaces.entered(lab.place(server).namespace):
            end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            end.settimeout(5)
            end.bind((lab.nodes[server].address(BACK_LAN), AGENTS_PORT if nth else _ECHO_PORT))
            ends.append(end)
    one, other = ends

    def answer() -> None:
        for _ in range(count):
            data, where = other.recvfrom(2048)
            other.sendto(data, where)

    thread = threading.Thread(target=answer)
    thread.start()
    took = []
    for _ in range(count):
        started = time.perf_counter()
        one.sendto(bytes(400), other.getsockname())
        one.recvfrom(2048)
        took.append(1e6 * (time.perf_counter() - started))
    thread.join()
    one.close()
    other.close()
    return took


def migrated(lab: Lab, moves: int) -> list[float]:
    """Microseconds of each migration of one connection that says little."""
    with ExitStack() as stack:
        for server in SERVERS:
            place = lab.place(server)
            place.app_cgroup.mkdir(parents=True, exist_ok=True)
            others = SERVERS[1 - SERVERS.index(server)]
            argv = [sys.executable, "-m", "tests.support.echo_server", "--port", str(PORT)]
            process = place.popen(
                [*argv, "--others", others, "--every", "20"],
                cgroup=place.app_cgroup,
                stdout=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
        with namespaces.entered(lab.place("client1").namespace):
            connection = _connected(lab)
        stack.callback(connection.close)
        end = time.monotonic() + 600
        while len(found := _still(lab)) < moves and time.monotonic() < end:
            connection.sendall(bytes(20))
            left = 20
            while left:
                left -= len(connection.recv(left))
            time.sleep(0.01)
    return found


def parts(lab: Lab) -> dict[str, list[float]]:
    """Microseconds of each part of the migrations so far."""
    return {name: _still(lab, re.compile(rf"{name}_us=(\d+)")) for name in _PARTS}


def _connected(lab: Lab) -> socket.socket:
    end = time.monotonic() + 20
    while True:
        try:
            made = socket.create_connection((lab.front("s1"), PORT), 5)
            made.sendall(b"x")
            if made.recv(1) == b"x":
                return made
        except OSError:
            if time.monotonic() > end:
                raise
        time.sleep(0.2)


def _still(lab: Lab, what: re.Pattern[str] = _STILL) -> list[float]:
    logs = [lab.place(server).run_dir / "agent.log" for server in SERVERS]
    return [float(each) for log in logs for each in what.findall(log.read_text())]


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.endpoints", description=__doc__)
    parser.add_argument("--moves", type=int, default=500)
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise IposError("the benchmarks build labs, which takes root")
    name = f"bench-{secrets.token_hex(3)}"
    with Lab(Settings(name=name, servers=2, config=_CONFIG, app="none")) as lab:
        still = quantiles(migrated(lab, options.moves))
        within = {name: quantiles(took) for name, took in parts(lab).items()}
        bare = quantiles(repaired(lab, options.moves))
    with Lab(Settings(name=name, servers=2, bare=True)) as lab:
        trip = quantiles(round_trips(lab, options.moves))
    for text, (p50, p99) in (
        ("stands still, as the giver sees it", still),
        *((f"  {text}", within[name]) for name, text in _PARTS.items()),
        ("TCP_REPAIR alone: read, made again", bare),
        ("round trip of a datagram on back", trip),
    ):
        print(f"{text}: p50 {p50:.0f} us, p99 {p99:.0f} us")
    for name, at in (("p50", 0), ("p99", 1)):
        goal = 1.3 * bare[at] + trip[at]
        print(f"{name}: {still[at] / goal:.2f} times the goal of {goal:.0f} us")


if __name__ == "__main__":
    main()
