# SPDX-License-Identifier: Apache-2.0
"""What runs a golden row: the native library, or the kernel by BPF_PROG_TEST_RUN.

Both hold the same farm, described once in `configure`, and answer a frame with the same `Ran`.
Interfaces are called front and back; only a machine knows their indices.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from ipos.inic.layout import constant
from ipos.inic.native import Assignment, Node, Outcome, Socket, SocketState, Tc, Xdp
from ipos.inic.shapes import Rows
from tests.golden import packets

NOW_NS = 3_000_000_000_000
WALL_NS = packets.EPOCH * 16_000_000_000 + 4_000_000_000

SIZES = {
    "forward": 4,
    "local": 4,
    "connect": 4,
    "temporary": 1024,
    "holding": 4,
    "hold_pool": 16,
    "hold_free": 16,
    "deny": 16,
}
"""Small enough for a row to fill a table."""

CONNECTIONS = ("forward", "local", "connect", "temporary", "holding")
SERVERS = {1: (packets.SERVICE, packets.BACK), 2: (packets.S2, packets.MAC2),
           3: (packets.S3, packets.MAC3)}  # fmt: skip
APPLICATION_IP = "127.0.0.1"
LISTENER = Socket(SocketState.LISTEN, IPv4Address(APPLICATION_IP), packets.APPLICATION)


@dataclass(frozen=True, slots=True)
class Out:
    """A frame sent: on an interface, or `inward`, into that interface's ingress.

    `where` is "" where the machine cannot see it: a redirect under TEST_RUN.
    """

    where: str
    frame: bytes
    inward: bool = False


@dataclass(frozen=True, slots=True)
class Ran:
    """What one program did. `verdict` is the action's name in small letters."""

    verdict: str
    frame: bytes
    clones: tuple[Out, ...] = ()
    redirected: Out | None = None
    assigned: tuple[Assignment, ...] = ()
    mark: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The farm of one row, from this server's side. Ports in host order."""

    me: int = 1
    one_lan: bool = False
    front_vlan: int = 0
    back_vlan: int = 0
    authenticate: bool = True
    answers_unread: bool = False
    policy: str = "FIXED"
    candidates: tuple[int, ...] = (1,)
    states: tuple[tuple[int, str], ...] = ()
    select: str = "REQUEST"
    decide: str = "CONNECTION"
    service_port: int = packets.WEB
    application: str = APPLICATION_IP
    used: bool = True
    key_epochs: tuple[int, ...] = tuple(packets.COOKIE_KEYS)
    deny: tuple[tuple[str, int], ...] = ()
    settings: bool = True
    named: bool = False
    listening: tuple[int, ...] = ()


class Machine(Protocol):
    """Tables, a clock, and the three programs that see frames."""

    kernel: bool

    def table(self, name: str) -> Rows: ...
    def now_ns(self) -> int: ...
    def ifindex(self, where: str) -> int: ...
    def counters(self) -> dict[str, int]: ...
    def listen(self, sockets: Sequence[Socket]) -> None: ...
    def set_wall(self) -> None: ...
    def leave_pieces(self, count: int) -> None: ...
    def xdp(self, frame: bytes, where: str) -> Ran: ...
    def ingress(self, frame: bytes, where: str, mark: int = 0) -> Ran: ...
    def egress(self, frame: bytes, where: str, mark: int = 0) -> Ran: ...
    def establish(self, made: Socket, cookie: int, snd_nxt: int, op: int) -> None: ...


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def network(address: str) -> int:
    """As the layout wants a `__u32` in network order: the number of its four bytes."""
    return int(IPv4Address(address))


def connection_key(port: int = packets.PORT, service_port: int = packets.WEB) -> dict[str, int]:
    return {
        "client_ip": network(packets.CLIENT),
        "service_ip": network(packets.SERVICE),
        "client_port": port,
        "service_port": service_port,
        "protocol": 6,
    }


def configure(machine: Machine, config: Config) -> None:
    """Everything the agent writes. The tables of connections are empty before."""
    front = machine.ifindex("front")
    key = packets.FRAME_KEY
    machine.table("settings")[0] = {
        "abi": constant("IPOS_ABI") if config.settings else constant("IPOS_ABI") + 1,
        "flags": constant("IPOS_AUTHENTICATE") * config.authenticate
        | constant("IPOS_ANSWERS_UNREAD") * config.answers_unread,
        "front_ifindex": front,
        "back_ifindex": front if config.one_lan else machine.ifindex("back"),
        "front_vlan": config.front_vlan,
        "back_vlan": config.back_vlan,
        "ethertype": 7,
        "self": config.me,
        "front_mac": mac(packets.FRONT),
        "back_mac": mac(SERVERS[config.me][1]),
        "self_ip": network(SERVERS[config.me][0]),
        "wall_offset_ns": WALL_NS - machine.now_ns(),
        "frame_key": (int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")),
        "header_timeout_ms": 5000,
        "idle_s": 3600,
    }
    states = dict(config.states)
    for index, (address, back_mac) in SERVERS.items():
        machine.table("servers")[index] = {
            "address": network(address),
            "back_ip": network(f"10.77.0.{index}"),
            "mac": mac(back_mac),
            "state": constant(f"IPOS_SERVER_{states.get(index, 'READY')}"),
        }
        if index != config.me:
            member = int.from_bytes(mac(back_mac), sys.byteorder)
            machine.table("members")[member] = index
    machine.table("services")[1] = {
        "protocol": 6,
        "select": constant(f"IPOS_SELECT_{config.select}"),
        "used": config.used,
        "decide": constant(f"IPOS_DECIDE_{config.decide}"),
        "pool": 1,
        "port": config.service_port,
        "application_ip": network(config.application),
        "application_port": packets.APPLICATION,
        "listening": 2 if config.listening else 1,
    }
    machine.table("pools")[2] = {
        "count": len(config.listening),
        "candidates": [
            {"server": server, "port": packets.APPLICATION, "weight": 1}
            for server in config.listening
        ],
    }
    machine.table("pools")[1] = {
        "policy": constant(f"IPOS_{config.policy}"),
        "count": len(config.candidates),
        "candidates": [
            {"server": server, "port": packets.APPLICATION, "weight": 1}
            for server in config.candidates
        ],
    }
    kind = "REDIRECT" if config.named else "NONE"
    machine.table("sessions")[1] = {"kind": constant(f"IPOS_SESSION_{kind}")}
    for index in SERVERS:
        name = f"s{index}.example".encode()
        start = (
            b"HTTP/1.1 307 Temporary Redirect\r\nConnection: close\r\nCache-Control: no-store\r\n"
            b"Content-Length: 0\r\nLocation: http://" + name
        )
        machine.table("names")[{"service": 1, "host": name}] = index
        machine.table("redirects")[{"service": 1, "server": index}] = {
            "length": len(start),
            "start": start,
        }
    for index, (address, _) in SERVERS.items():
        machine.table("addresses")[
            {"ip": network(address), "port": config.service_port, "protocol": 6}
        ] = {"service": 1, "holder": index}
    for epoch in (packets.EPOCH - 1, packets.EPOCH):
        raw = packets.COOKIE_KEYS[epoch]
        machine.table("cookie_keys")[epoch % constant("IPOS_EPOCHS")] = {
            "key": (int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little")),
            "epoch": epoch,
            "valid": epoch in config.key_epochs,
        }
    for prefix, length in config.deny:
        machine.table("deny")[{"prefix_len": length, "ip": network(prefix)}] = 1


class NativeMachine:
    """A node in this process, with the row's clock."""

    kernel = False

    def __init__(self, sizes: Mapping[str, int] = SIZES) -> None:
        self.node = Node(sizes)
        self.moment = NOW_NS
        self.node.clock(NOW_NS)
        self.node.random_is(0)

    def close(self) -> None:
        self.node.close()

    def table(self, name: str) -> Rows:
        return self.node.table(name)

    def now_ns(self) -> int:
        return self.moment

    def set_wall(self) -> None:
        """The clock stands."""

    def leave_pieces(self, count: int) -> None:
        free = self.node.store("hold_free")
        while free.count() > count:
            free.pop()

    def ifindex(self, where: str) -> int:
        return {"front": 12, "back": 13, "elsewhere": 14}[where]

    def counters(self) -> dict[str, int]:
        return self.node.counters()

    def listen(self, sockets: Sequence[Socket]) -> None:
        self.node.sockets = tuple(sockets)

    def xdp(self, frame: bytes, where: str) -> Ran:
        outcome = self.node.xdp(frame, self.ifindex(where))
        return self._ran(Xdp(outcome.verdict), outcome)

    def ingress(self, frame: bytes, where: str, mark: int = 0) -> Ran:
        outcome = self.node.ingress(frame, self.ifindex(where), mark)
        return self._ran(Tc(outcome.verdict), outcome)

    def egress(self, frame: bytes, where: str, mark: int = 0) -> Ran:
        outcome = self.node.egress(frame, self.ifindex(where), mark)
        return self._ran(Tc(outcome.verdict), outcome)

    def establish(self, made: Socket, cookie: int, snd_nxt: int, op: int) -> None:
        self.node.sockops(made, cookie=cookie, snd_nxt=snd_nxt, op=op)

    def _ran(self, verdict: Xdp | Tc, outcome: Outcome) -> Ran:
        names = {self.ifindex(where): where for where in ("front", "back", "elsewhere")}
        sent = [Out(names[s.ifindex], s.frame, s.inward) for s in outcome.sent]
        redirected = sent.pop() if verdict.name == "REDIRECT" else None
        return Ran(
            verdict.name.lower(), outcome.frame, tuple(sent), redirected, outcome.assigned,
            outcome.mark,
        )  # fmt: skip
