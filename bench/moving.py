# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.moving`: what it costs a request that its connection moves first.

One keep-alive connection to the first server, and nginx in the two others. Requests for one server
after the other are compared with requests for one only, through ipOS with `decide = "request"` and
through HAProxy in the first server, which routes by the same Host and keeps its own connections to
both. All four are measured in turn, round after round; the median of each is printed.
"""

import argparse
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median

from bench.arms import PROXY_PORT, thaw
from ipos.errors import IposError
from ipos.lab import namespaces
from ipos.lab.lab import Lab
from ipos.lab.plan import Settings
from tests.support.hosts import by_host

FIRST, OWNERS = "s1", ("s2", "s3")

_CONFIG = """\
[[service]]
name = "web"
port = 80
decide = "request"
""" + by_host(OWNERS)

_PROXY = """\
global
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend farm
    bind {address}:{port}
    use_backend %[req.hdr(host)]
""" + "".join(
    f"""
backend {server}.example
    http-reuse always
    server {server} {{{server}}}:80
"""
    for server in OWNERS
)


@dataclass(frozen=True, slots=True)
class Way:
    """A connection through one of the things compared."""

    name: str
    connection: socket.socket

    def ask(self, owner: str) -> float:
        """One request of this owner's; its time in seconds. IposError for another's answer."""
        asked = f"GET / HTTP/1.1\r\nHost: {owner}.example\r\n\r\n".encode()
        started = time.perf_counter()
        self.connection.sendall(asked)
        answer = self.connection.recv(4096)
        took = time.perf_counter() - started
        if f"\r\nX-Served-By: {owner}\r\n".lower().encode() not in answer.lower():
            raise IposError(f"{self.name}: a request for {owner} was answered by {answer!r}")
        return took


def _connected(lab: Lab, port: int) -> socket.socket:
    with namespaces.entered(lab.place("client1").namespace):
        connection = socket.create_connection((lab.front(FIRST), port), 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _start_proxy(bare: Lab) -> None:
    place = bare.place(FIRST)
    file = place.run_dir / "haproxy.cfg"
    targets = {server: bare.front(server) for server in OWNERS}
    file.write_text(_PROXY.format(address=bare.front(FIRST), port=PROXY_PORT, **targets))
    pid = str(place.run_dir / "haproxy.pid")
    done = place.run(
        ["haproxy", "-q", "-D", "-f", str(file), "-p", pid],
        cgroup=place.app_cgroup,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise IposError(f"HAProxy did not start: {done.stderr.strip()}")


@contextmanager
def ways() -> Iterator[list[Way]]:
    """Through ipOS, and through HAProxy if it is installed."""
    name = f"bench-{secrets.token_hex(3)}"
    with ExitStack() as stack:
        farm = stack.enter_context(Lab(Settings(name=name, config=_CONFIG)))
        thaw(farm)
        found = [Way("ipos", stack.enter_context(_connected(farm, 80)))]
        if shutil.which("haproxy"):
            bare = stack.enter_context(Lab(Settings(name=f"{name}-bare", bare=True)))
            _start_proxy(bare)
            proxied = stack.enter_context(_connected(bare, PROXY_PORT))
            found.append(Way("haproxy", proxied))
        yield found


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.moving", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--requests", type=int, default=100, help="of each kind in each round")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise IposError("the benchmarks build labs, which takes root")
    took: dict[tuple[str, str], list[float]] = {}
    with ways() as found:
        for _ in range(options.rounds):
            for way in found:
                stays = [way.ask(OWNERS[0]) for _ in range(options.requests + 1)][1:]
                moves = [way.ask(OWNERS[(n + 1) % 2]) for n in range(options.requests)]
                took.setdefault((way.name, "stays"), []).extend(stays)
                took.setdefault((way.name, "moves"), []).extend(moves)
    for name in dict.fromkeys(name for name, _ in took):
        stays_us, moves_us = (1e6 * median(took[name, kind]) for kind in ("stays", "moves"))
        print(
            f"{name}: a request takes {stays_us:.0f} us at the server before, {moves_us:.0f} us "
            f"at another; added {moves_us - stays_us:.0f} us (p50 of {len(took[name, 'moves'])})"
        )


if __name__ == "__main__":
    main()
