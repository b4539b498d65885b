# SPDX-License-Identifier: Apache-2.0
"""Two ISPs: an answer leaves by the uplink of its source address, whoever answers."""

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipos.abi.rows import ServerState
from ipos.lab import Lab, Settings, cgroups, faults, pattern
from ipos.lab.plan import FRONT_LAN, SECOND_LAN
from tests.farm.wire import Capture, capturing
from tests.support.farm import (
    CONFIG,
    ELSEWHERE,
    SERVERS,
    SPEAK_FIRST_ELSEWHERE,
    THIRD,
    Farm,
    read_answer,
    request,
    wait_until,
)

pytestmark = [pytest.mark.farm, pytest.mark.alone]

PREFIXES = {"isp1": bytes((203, 0, 113)), "isp2": bytes((192, 0, 2))}
ROUTERS = {"isp1": ("router1", FRONT_LAN), "isp2": ("router2", SECOND_LAN)}
HOOK = """\
#!/bin/sh
echo "$IPOS_SERVER|$IPOS_UPLINKS_OUT|$IPOS_ADDRESSES_OUT|$IPOS_ADDRESSES" >> {told}
"""


class Dual(Farm):
    """A farm on two uplinks. `told`: a line for each run of the hook."""

    told: Path

    def addresses(self, server: str) -> dict[str, str]:
        node = self.lab.nodes[server]
        return {"isp1": node.address(FRONT_LAN), "isp2": node.address(SECOND_LAN)}

    def ask(self, address: str, port: int, path: str = "/") -> str:
        """Who serves a request."""
        with self.dial(address, port) as connection:
            connection.sendall(request(path))
            answer = read_answer(connection)
        if path.startswith("/bytes/"):
            assert answer.body == b"".join(pattern.chunks(int(path.removeprefix("/bytes/"))))
        return answer.served_by

    def dial(self, address: str, port: int) -> socket.socket:
        made = self.unconnected()
        made.settimeout(20)
        try:
            made.connect((address, port))
        except BaseException:
            made.close()
            raise
        return made

    def held(self, by: str = "s1") -> dict[str, dict[str, str]]:
        """The rows of `ipos status` about addresses."""
        document = json.loads(self.run(by, "ipos", "status", "-o", "json"))
        return {row["address"]: row for row in document["addresses"]}

    def all_ready(self) -> bool:
        return all(
            [row.state for _, row in tables.servers.items() if row.state] == [ServerState.READY] * 3
            for tables in self.tables.values()
        )

    def all_held(self) -> bool:
        return all(
            self.holds(server, address)
            for server in SERVERS
            for address in self.addresses(server).values()
        )


@contextmanager
def a_farm(tmp: Path, config: str, suffix: str) -> Iterator[Dual]:
    hook, told = tmp / "hook", tmp / "told"
    hook.write_text(HOOK.format(told=told))
    hook.chmod(0o755)
    told.touch()
    agent = f'\n[agent]\nuplink_command = ["{hook}"]\n'
    settings = Settings(
        name=f"upl{os.getpid()}{suffix}", config=config + agent, topology="dual-isp", app="builtin"
    )
    with Lab(settings) as lab:
        farm = Dual(lab)
        farm.told = told
        wait_until("every server ready", farm.all_ready, 60)
        yield farm


@pytest.fixture(scope="module")
def dual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dual]:
    with a_farm(tmp_path_factory.mktemp("dual"), CONFIG, "d") as farm:
        wait_until("all addresses held", farm.all_held, 60)
        yield farm


def strays(capture: Capture, uplink: str) -> list[bytes]:
    """IPv4 packets between clients and a service of another uplink."""
    client = bytes((10, 99, 0))
    return [
        frame[14:34]
        for frame in capture.frames
        if frame[12:14] == b"\x08\x00"
        and client in (frame[26:29], frame[30:33])
        and PREFIXES[uplink] not in (frame[26:29], frame[30:33])
    ]


def answers(capture: Capture, uplink: str) -> int:
    return sum(
        frame[12:14] == b"\x08\x00" and frame[26:29] == PREFIXES[uplink] for frame in capture.frames
    )


@contextmanager
def both_watched(farm: Dual) -> Iterator[dict[str, Capture]]:
    """What the routers' ports see: nothing strays, and each has its answers."""
    first, second = (ROUTERS[name] for name in PREFIXES)
    with capturing(farm, *first) as one, capturing(farm, *second) as two:
        captures = {"isp1": one, "isp2": two}
        yield captures
    for uplink, capture in captures.items():
        assert not strays(capture, uplink), uplink


def test_every_answer_leaves_by_its_uplink(dual: Dual) -> None:
    """Whoever is addressed and whoever answers. Reverse-path filters are strict everywhere."""
    filters = dual.run("s1", "sysctl", "-n", *(f"net.ipv4.conf.{n}.rp_filter" for n in (
        FRONT_LAN, SECOND_LAN,
    )))  # fmt: skip
    assert filters.split() == ["1", "1"]
    with both_watched(dual) as captures:
        for server in SERVERS:
            for address in dual.addresses(server).values():
                assert dual.ask(address, ELSEWHERE) == "s2"
                assert dual.ask(address, THIRD, "/bytes/300000") == "s3"
                with dual.dial(address, SPEAK_FIRST_ELSEWHERE) as connection:
                    assert connection.recv(100)
                with dual.dial(address, 8001) as connection:
                    for piece in (request()[:20], request()[20:]):
                        connection.sendall(piece)
                    assert read_answer(connection).served_by == "s1"
    for uplink, capture in captures.items():
        assert answers(capture, uplink) > 60, "and they were seen"


def test_a_port_of_nobody_is_refused_by_the_same_uplink(dual: Dual) -> None:
    """What the servers' kernels say is routed by its source, too."""
    with both_watched(dual) as captures:
        for address in dual.addresses("s1").values():
            with pytest.raises(OSError):
                dual.dial(address, 22).close()
    assert all(answers(captures[uplink], uplink) for uplink in captures)


def test_what_comes_by_the_wrong_uplink_is_dropped(dual: Dual) -> None:
    route = ["192.0.2.1/32", "via", "203.0.113.1"]
    dual.run("client1", "ip", "route", "add", "192.0.2.1/32", "via", "10.99.0.254")
    dual.run("router1", "ip", "route", "add", *route)
    try:
        with dual.unconnected() as made:
            made.settimeout(0.5)
            with pytest.raises(TimeoutError):
                made.connect(("192.0.2.1", ELSEWHERE))
        assert dual.counters("s1")["drop_uplink"] > 0
    finally:
        dual.run("router1", "ip", "route", "del", *route)
        dual.run("client1", "ip", "route", "del", "192.0.2.1/32")
    assert dual.ask("192.0.2.1", ELSEWHERE) == "s2"


class Load:
    """Requests to one uplink's addresses, one after the other, and what failed."""

    def __init__(self, farm: Dual, uplink: str) -> None:
        self._farm, self._uplink = farm, uplink
        self.done, self.failed = 0, list[str]()
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        addresses = [self._farm.addresses(server)[self._uplink] for server in SERVERS]
        while not self._enough.is_set():
            try:
                self._farm.ask(addresses[self.done % 3], (80, ELSEWHERE)[self.done % 2])
            except (OSError, AssertionError) as error:
                self.failed.append(f"{time.monotonic():.2f} {error!r}")
            self.done += 1

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()


def hooks(farm: Dual) -> list[list[str]]:
    return [line.split("|") for line in farm.told.read_text().splitlines()]


def test_one_isp_is_cut_under_load(dual: Dual) -> None:
    """The other one's connections live, the hook is told once, and again when it is back."""
    firsts = " ".join(dual.addresses(server)["isp1"] for server in SERVERS)
    seconds = [dual.addresses(server)["isp2"] for server in SERVERS]
    before = len(hooks(dual))
    kept = dual.dial(dual.addresses("s1")["isp1"], ELSEWHERE)
    with kept, Load(dual, "isp1") as load:
        kept.sendall(request(close=False))
        assert read_answer(kept).served_by == "s2"
        wait_until("requests", lambda: load.done > 20, 30)
        faults.set_link(dual.lab, "router2", SECOND_LAN, up=False)
        try:
            wait_until("the hook", lambda: len(hooks(dual)) > before, 30)
            assert hooks(dual)[before][1:] == ["isp2", " ".join(sorted(seconds)), firsts]
            wait_until(
                "nobody answers",
                lambda: not any(dual.holds(s, a) for s in SERVERS for a in seconds),
            )
            seen = load.done
            wait_until("more requests", lambda: load.done > seen + 50, 30)
            document = json.loads(dual.run("s3", "ipos", "status", "-o", "json"))
            assert any("uplink isp2 is out of service" in one for one in document["troubles"])
            rows = dual.held("s3")
            assert [rows[a]["holder"] for a in seconds] == [None] * 3
            assert {rows[a]["why"] for a in seconds} == {"its uplink isp2 is out of service"}
            assert {row["state"] for row in document["servers"]} == {"ready"}
        finally:
            faults.set_link(dual.lab, "router2", SECOND_LAN, up=True)
        wait_until("it is back", lambda: len(hooks(dual)) > before + 1, 30)
        wait_until("all held", dual.all_held, 30)
        kept.sendall(request())
        assert read_answer(kept).served_by == "s2"
    assert load.failed == []
    told = hooks(dual)[before:]
    assert [one[1] for one in told] == ["isp2", ""], "once for each change"
    assert told[1][2:] == ["", " ".join(sorted((firsts + " " + " ".join(seconds)).split()))]
    assert dual.ask(seconds[0], ELSEWHERE) == "s2"


def test_one_server_loses_one_uplink(dual: Dual) -> None:
    """Nothing is out of service: its addresses go to another server on the same uplink."""
    before = len(hooks(dual))
    address = dual.addresses("s3")["isp2"]
    with Load(dual, "isp1") as load:
        faults.set_link(dual.lab, "s3", SECOND_LAN, up=False)
        try:
            wait_until("taken", lambda: any(dual.holds(s, address) for s in ("s1", "s2")), 30)
            wait_until("answered", lambda: dual.ask(address, ELSEWHERE) == "s2", 10)
        finally:
            faults.set_link(dual.lab, "s3", SECOND_LAN, up=True)
        wait_until("all held", dual.all_held, 30)
    assert len(hooks(dual)) == before
    assert load.failed == []
    rules = dual.run("s3", "ip", "route", "show", "table", "7701")
    assert "default via 192.0.2.254 dev front2" in rules


def test_detach_leaves_no_rule(dual: Dual) -> None:
    changes = (dual.lab.place("s3").run_dir / "changes.json").read_text()
    assert "rule 7702: from 192.0.2.0/24 lookup 7701" in changes
    assert "proto 77" in dual.run("s3", "ip", "rule")
    cgroups.end(dual.lab.place("s3").agent_cgroup)
    dual.run("s3", "ipos", "detach")
    assert "proto 77" not in dual.run("s3", "ip", "rule")
    left = dual.lab.run("s3", ["ip", "route", "show", "table", "7701"], stdout=subprocess.PIPE)
    assert not left.stdout
    dual.lab.start_agent("s3")
    dual.__dict__.pop("tables", None)  # of the maps that detach has removed
    wait_until("all held", dual.all_held, 30)


OWNER = CONFIG + '\n[farm]\nreturn = "owner"\n'


def test_an_owner_answers_by_its_own_router(tmp_path: Path) -> None:
    """s1 and s3 are on isp1, s2 on isp2; routers that do not filter let it."""
    with a_farm(tmp_path, OWNER, "o") as farm:
        for router in ("router1", "router2"):
            for name in ("all", "clients", FRONT_LAN, SECOND_LAN):
                path = f"net.ipv4.conf.{name}.rp_filter=0"
                farm.lab.run(router, ["sysctl", "-q", "-w", path], stderr=subprocess.DEVNULL)
        address, other = farm.addresses("s1")["isp1"], farm.addresses("s2")["isp2"]
        wait_until("both held", lambda: farm.holds("s1", address) and farm.holds("s2", other), 60)
        with capturing(farm, *ROUTERS["isp1"]) as one, capturing(farm, *ROUTERS["isp2"]) as two:
            assert farm.ask(address, ELSEWHERE, "/bytes/300000") == "s2"
        bulk = [sum(len(f) for f in each.frames if f[26:29] == PREFIXES["isp1"])
                for each in (one, two)]  # fmt: skip
        assert bulk[1] > 300_000, "by s2's own router"
        assert bulk[0] < 1_000, "only the handshake by the first one"
        assert farm.ask(other, THIRD, "/bytes/300000") == "s3"
