# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.waiting`: how long clients of HTTP/2 wait at the start of a connection.

gRPC's own client says no more than its preface before it has the server's SETTINGS: the time until
it has them, through a farm whose server for it is another one. First with the agents at work, then
without, when its TCP has to send the preface again. Beside it curl, which sends its request at once
and has nothing to wait for: the time until the first byte of the answer. Root; it builds a lab.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
import time
from statistics import quantiles

import grpc.aio

from ipos.errors import IposError
from ipos.lab import Lab, Settings, faults, namespaces

PORT = 8082
_CONFIG = f"""\
[[service]]
name = "h2"
port = {PORT}
application = "127.0.0.1:{PORT}"
slow_start_ms = 0

[[route]]
service = "h2"
servers = ["s2"]

[[route]]
service = "h2"
path = "/nothing/"
servers = ["s1"]
"""


async def _grpc(target: str, count: int) -> list[float]:
    """Seconds until a channel is ready, of so many, one after the other."""
    # Channels of the same options share their connections, unless told otherwise.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    took = []
    for _ in range(count):
        started = time.perf_counter()
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            await channel.channel_ready()
            took.append(time.perf_counter() - started)
    return took


def _curl(lab: Lab, url: str, count: int) -> list[float]:
    """Seconds until the first byte of an answer."""
    command = ["curl", "-s", "--http2-prior-knowledge", "-o", "/dev/null"]
    command += ["-w", "%{time_starttransfer}", url]
    place = lab.place("client1")
    ran = (place.run(command, capture_output=True, text=True) for _ in range(count))
    return [float(one.stdout) for one in ran]


def _told(name: str, took: list[float]) -> str:
    ninth = quantiles(took, n=10)
    return f"{name}: {1e3 * ninth[4]:.1f} ms at p50, {1e3 * ninth[8]:.1f} ms at p90 of {len(took)}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.waiting", description=__doc__)
    parser.add_argument("--connections", type=int, default=50, help="of each kind")
    count = parser.parse_args().connections
    if os.geteuid() != 0:
        raise IposError("the benchmarks build labs, which takes root")
    with Lab(Settings(name=f"bench-{secrets.token_hex(3)}", config=_CONFIG)) as lab:
        target = f"{lab.front('s1')}:{PORT}"
        for agents in ("with agents", "without agents"):
            with namespaces.entered(lab.place("client1").namespace):
                took = asyncio.run(_grpc(target, count))
            print(_told(f"{agents}, gRPC has the server's SETTINGS", took))
            took = _curl(lab, f"http://{target}/", count)
            print(_told(f"{agents}, curl has its answer", took))
            for server in ("s1", "s2", "s3"):
                faults.kill_agent(lab, server)


if __name__ == "__main__":
    try:
        main()
    except IposError as error:
        sys.exit(f"bench: {error}")
