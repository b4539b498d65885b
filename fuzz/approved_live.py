# SPDX-License-Identifier: Apache-2.0
"""What real sockets of a farm received, beside what its data planes have approved.

    python -m fuzz.approved_live [--count N] [--seed S]

A lab with three servers decides at every request. A client in user space sends what no TCP would:
segments that overlap with other bytes in them, gaps, wrong checksums and acknowledgements, none at
all, old timestamps, urgent bytes, FIN, RST and SYN at wrong places. Each server's application
remembers every byte that its sockets received. Every request in them must be this server's by its
route, and be one that the data planes have decided for it, in the same order; and what an honest
client sends, as often as it takes, must be read whole, once, by the server of each request's route.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from fuzz import schedules
from fuzz.live_client import Lines, Live, Wire, attack, honest
from fuzz.received import Received, Said, Seen, judged, whole
from ipos.abi.rows import Outcome, SettingsFlags
from ipos.abi.rows import Settings as AgentSettings
from ipos.kernel.decisions import DecisionRing, decode
from ipos.kernel.maps import switch
from ipos.kernel.pins import directory_name
from ipos.lab import Lab, Settings
from tests.farm.clients.recording import requests_in
from tests.support import usertcp
from tests.support.farm import ANY, CLIENT, SERVERS, Farm

BATCH = usertcp.LAST_PORT - usertcp.FIRST_PORT
"""Connections between two looks at what was received; each has a port of its own."""
_APPLICATION = Path(usertcp.__file__).parents[1] / "farm" / "clients" / "recording.py"
HONEST = 0.25
"""Of all connections."""
_IGNORE_OUTGOING = 23  # PACKET_IGNORE_OUTGOING
_IPV4 = 0x0800
_CONFIG = """\
[farm]
header_timeout_ms = 2000
waiting_timeout_s = 5

[[service]]
name = "web"
port = 80
decide = "request"
slow_start_ms = 0
""" + "".join(
    f"""
[[route]]
service = "web"
host = "{server}.example"
servers = ["{server}"]
"""
    for server in SERVERS
)

# ---- the lab ---------------------------------------------------------------------------------


class Bench:
    """A farm, and what is asked of it: connections, what they came to, decisions."""

    def __init__(self, farm: Farm, stack: ExitStack) -> None:
        self.farm = farm
        self.client, self._clients = CLIENT, 0
        usertcp.prepare(farm)
        with farm.inside("client1"):
            back = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_IPV4))
            back.setsockopt(263, _IGNORE_OUTGOING, 1)  # SOL_PACKET
            back.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
            back.bind(("front", _IPV4))
        out = stack.enter_context(usertcp.packet_out(farm))
        self.lines = Lines(out, stack.enter_context(back))
        self._rings: dict[str, DecisionRing] = {}
        self._told: list[bytes] = []
        self._names: dict[int, str] = {}
        for place in farm.lab.places():
            maps = place.pin_dir / directory_name(farm.lab.name, place.node) / "maps"
            self._rings[place.node] = stack.enter_context(DecisionRing(maps))
            self._names[self._settings(place.node).self] = place.node

    def _settings(self, server: str) -> AgentSettings:
        found = self.farm.tables[server].settings.get(0)
        assert found is not None
        return found

    def new_client(self) -> None:
        """Another address for the connections that follow, so that none has an earlier one's."""
        self._clients += 1
        self.client = f"{CLIENT.rpartition('.')[0]}.{100 + self._clients % 100}"
        self.farm.run("client1", "ip", "address", "replace", f"{self.client}/24", "dev", "front")

    def live(self, rng: random.Random, port: int) -> Live:
        address = self.farm.address(rng.choice(SERVERS))
        sender = schedules.Sender(
            IPv4Address(self.client), IPv4Address(address), (port, ANY), rng.getrandbits(32),
            timestamps=rng.random() < 0.8,
        )  # fmt: skip
        return Live(sender, Wire(self.lines, port, address), self.look)

    def watch(self) -> None:
        """Every decision is told from now on; unless an agent writes its settings anew."""
        for tables in self.farm.tables.values():
            switch(tables, SettingsFlags.WATCH, on=True)

    def watched(self) -> bool:
        """Whether it has been so all the time."""
        return all(SettingsFlags.WATCH in self._settings(server).flags for server in SERVERS)

    def look(self) -> None:
        """Make room in the rings."""
        for ring in self._rings.values():
            while records := ring.take(1_000):
                self._told += records

    def decisions(self) -> list[tuple[int, int, str, Said]]:
        """(when, client's port, server, request) of those since the last time."""
        self.look()
        found = [
            (told.when_ns, told.tuple.client_port, self._names[told.server],
             (told.host[: told.host_len], told.path[: told.path_len]))
            for told in map(decode, self._told)
            if told.outcome not in (Outcome.REFUSED, Outcome.TAKEN) and told.path_len
        ]  # fmt: skip
        self._told = []
        return sorted(found)

    def lost(self) -> int:
        """Decisions that their ring had no room for."""
        return sum(counts["decision_lost"] for counts in self.farm.all_counters().values())

    def received(self) -> dict[str, list[dict[str, Any]]]:
        """What each application says, by server."""
        told = {}
        for place in self.farm.lab.places():
            with socket.socket(socket.AF_UNIX) as asking:
                asking.connect(str(place.run_dir / "recorded.sock"))
                told[place.node] = json.loads(b"".join(iter(lambda: asking.recv(1 << 20), b"")))
        return told


@contextmanager
def bench(name: str) -> Iterator[Bench]:
    """A lab of that name, and the client's sockets in it."""
    settings = Settings(
        name=name, config=_CONFIG, app=f"exec {sys.executable} {_APPLICATION} {ANY} 1"
    )
    with Lab(settings) as lab, ExitStack() as stack:
        farm = Farm(lab)
        farm.wait_idle()
        yield Bench(farm, stack)


def one(place: Bench, rng: random.Random, port: int, seen: Seen) -> str:
    """A connection, and what was approved of it; what went wrong already."""
    wrong = ""
    live = place.live(rng, port)
    place.watch()
    if not live.connects():
        return "no handshake"
    if rng.random() < HONEST:
        seen.sent, wrong = honest(rng, live)
    else:
        attack(rng, live)
    live.ends()
    seen.known = place.watched()
    for _, client, server, said in place.decisions():
        if client == port:
            seen.decided[server].append(said)
    return wrong


def batch(place: Bench, seed: int, count: int, tally: Counter[str]) -> list[str]:
    """So many connections, at most BATCH of them, and what was wrong with any."""
    place.new_client()
    lost = place.lost()
    ports = range(usertcp.FIRST_PORT, usertcp.FIRST_PORT + count)
    seen = {port: Seen() for port in ports}
    wrong = {port: one(place, random.Random(f"{seed}/{port}"), port, seen[port]) for port in ports}
    for server, told in place.received().items():
        for socket_ in told:
            client, _, number = socket_["client"].partition(":")
            port, got = int(number), Received(bytes.fromhex(socket_["data"]), socket_["broken"])
            if client != place.client:
                continue  # an earlier connection, which was accepted late
            seen[port].received[server].append(got)
            tally["sockets"] += 1
            tally["requests read"] += 0 if got.broken else len(requests_in(got.data))
    for port in ports:
        wrong[port] = wrong[port] or judged(seen[port])
        if not wrong[port] and seen[port].sent:
            wrong[port] = whole(seen[port].sent, seen[port])
        tally["requests approved"] += sum(map(len, seen[port].decided.values()))
        tally["not all was told"] += not seen[port].known
        tally["schedules"] += 1
    found = [f"port {port} of seed {seed}: {told}" for port, told in wrong.items() if told]
    return found if place.lost() == lost else [*found, "decisions were lost"]


def run(place: Bench, seed: int, count: int) -> tuple[Counter[str], list[str]]:
    """So many connections: what they came to, and what differed."""
    tally: Counter[str] = Counter()
    found: list[str] = []
    while count > tally["schedules"]:
        number = min(BATCH, count - tally["schedules"])
        found += batch(place, seed * 1_000_003 + tally["schedules"], number, tally)
    return tally, found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz.approved_live", description=__doc__)
    parser.add_argument("--count", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with bench(f"al{os.getpid()}") as place:
        tally, found = run(place, chosen.seed, chosen.count)
    for name, number in sorted(tally.items()):
        print(f"{name}: {number:,}")
    for one in found[:20]:
        print(f"differs: {one[:3000]}")
    print(f"{len(found)} differences" if found else "no difference")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
