# SPDX-License-Identifier: Apache-2.0
"""What runs a golden row: the native library, or the kernel by BPF_PROG_TEST_RUN.

Both hold the same farm, described once in `configure`, and answer a frame with the same `Ran`.
Interfaces are called front and back; only a machine knows their indices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from ipos.abi.layout import constant
from ipos.agent.expiry.network_shares import slots
from ipos.agent.rows.gates import kind_of
from ipos.wire.tags import packet_key
from native.library import Node
from native.shapes import Rows
from native.values import Assignment, Outcome, Sent, Socket, SocketState, Tc, Xdp
from tests.support.golden import flows, packets, uplinks
from tests.support.golden.places_of_keys import bits, question_slots
from tests.support.pools import pool

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
    "questions": 1024,
    "udp_flows": 4,
    "udp_new": 1024,
    "udp_owned": 1024,
    "udp_fragments": 1024,
}
"""Small enough for a row to fill a table."""

CONNECTIONS = ("forward", "local", "connect", "temporary", "holding", "questions", *flows.TABLES)
SERVERS = {1: (packets.SERVICE, packets.BACK), 2: (packets.S2, packets.MAC2),
           3: (packets.S3, packets.MAC3)}  # fmt: skip
APPLICATION_IP = "127.0.0.1"
LISTENER = Socket(SocketState.LISTEN, IPv4Address(APPLICATION_IP), packets.APPLICATION)


@dataclass(frozen=True, slots=True)
class Out:
    """A frame sent: on an interface, or `inward`, into that interface's ingress.

    `where` is "" where the machine cannot see it: a redirect under TEST_RUN. way: "peer", into the
    other end of that interface; "neighbour", to the next hop of its destination; or "".
    """

    where: str
    frame: bytes
    inward: bool = False
    mark: int = 0
    way: str = ""


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
    keys_change: bool = False
    answers_unread: bool = False
    drains: bool = False
    policy: str = "FIXED"
    turn: int = 0
    candidates: tuple[int, ...] = (1,)
    states: tuple[tuple[int, str], ...] = ()
    select: str = "REQUEST"
    decide: str = "CONNECTION"
    mode: str = "AUTO"
    service_port: int = packets.WEB
    application: str = APPLICATION_IP
    used: bool = True
    key_epochs: tuple[int, ...] = tuple(packets.COOKIE_KEYS)
    deny: tuple[tuple[str, int], ...] = ()
    deny_empty: bool = False  # as the gate says
    foreign_ports: tuple[int, ...] = ()
    foreign_addresses: tuple[str, ...] = ()
    settings: bool = True
    named: bool = False
    listening: tuple[int, ...] = ()
    waiting_s: int = 0
    guesses: int = 0
    hold_pieces: int = 0
    withheld: int = 0
    own_pair: bool = False  # own programs are clients, by another interface than front
    listener: str = "0.0.0.0"
    held: tuple[int, int] = (0, 0)  # pieces, by the client's network and by all
    arp: str = "KERNEL"  # who answers for the first server's address
    locates: int = 0  # questions a second
    locates_source: int = 1000
    all_answer: bool = False
    box: str = ""  # the interface that leads to the container of the application
    box_netns: int = 0  # 1 + the id of its network namespace
    starts: str = "NOT"  # what becomes of a request that finds no application
    asks: bool = False  # the address was another server's a short while ago
    flows: flows.Flows | None = None  # a UDP service
    uplinks: tuple[str, ...] = ()


class Machine(Protocol):
    """Tables, a clock, and the three programs that see frames."""

    kernel: bool
    family: int

    def table(self, name: str) -> Rows: ...
    def now_ns(self) -> int: ...
    def monotonic_ns(self) -> int: ...

    def cpu(self) -> int: ...
    def ifindex(self, where: str) -> int: ...
    def counters(self) -> dict[str, int]: ...
    def listen(self, sockets: Sequence[Socket]) -> None: ...
    def set_wall(self) -> None: ...
    def leave_pieces(self, count: int) -> None: ...
    def xdp(self, frame: bytes, where: str) -> Ran: ...
    def ingress(self, frame: bytes, where: str, mark: int = 0) -> Ran: ...
    def egress(self, frame: bytes, where: str, mark: int = 0) -> Ran: ...
    def box(self, frame: bytes, where: str, mark: int, *, out: bool) -> Ran: ...
    def establish(self, made: Socket, cookie: int, snd_nxt: int, op: int) -> None: ...


def words(key: bytes) -> tuple[int, int]:
    return int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def network(address: str) -> int:
    """As the layout wants a `__u32` in network order: the number of its four bytes."""
    return int(IPv4Address(address))


def refusers(*servers: int) -> dict[str, object]:
    """`struct ipos_refusers`."""
    rest = constant("IPOS_REFUSERS_MAX") - len(servers)
    return {"count": len(servers), "servers": [*servers, *[0] * rest]}


def tag_keys(*frame_keys: bytes) -> dict[str, list[dict[str, object]]]:
    """The element of `tag_keys`: of the frame key, and of the other one."""
    keys = [packet_key(key) for key in frame_keys]
    return {"keys": [{"sip": words(key.sip), "nh": key.nh} for key in keys]}


def connection_key(port: int = packets.PORT, service_port: int = packets.WEB) -> dict[str, int]:
    return {
        "client_ip": network(packets.CLIENT),
        "service_ip": network(packets.SERVICE),
        "client_port": port,
        "service_port": service_port,
        "protocol": 6,
    }


def _pool(servers: Iterable[int], policy: int = 0) -> dict[str, object]:
    return pool(({"server": one, "port": packets.APPLICATION} for one in servers), policy=policy)


def _flags(config: Config) -> int:
    """Of the settings."""
    return int(
        constant("IPOS_AUTHENTICATE") * config.authenticate
        | constant("IPOS_ANSWERS_UNREAD") * config.answers_unread
        | constant("IPOS_KEYS_CHANGE") * config.keys_change
        | constant("IPOS_ALL_ANSWER") * config.all_answer
        | constant("IPOS_DRAINS") * config.drains
        | constant("IPOS_FLOWS") * (config.flows is not None)
        | constant("IPOS_BOXES") * bool(config.box)
    )


def _locating(machine: Machine, config: Config) -> dict[str, int]:
    """Of the settings; nothing has been asked."""
    for slot in question_slots(packets.VOUCH, IPv4Address(packets.CLIENT).packed):
        machine.table("locates")[slot] = {}
    return {"locates": config.locates, "locates_source": config.locates_source}


def configure(machine: Machine, config: Config) -> None:
    """Everything the agent writes. The tables of connections are empty before."""
    front = machine.ifindex("front")
    key = packets.FRAME_KEY
    machine.table("settings")[0] = {
        "abi": constant("IPOS_ABI") if config.settings else constant("IPOS_ABI") + 1,
        "flags": _flags(config),
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
        "vouch": packets.VOUCH,
        "frame_key": (int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")),
        "other_frame_key": words(packets.OTHER_FRAME_KEY),
        "header_timeout_ms": 5000,
        "idle_s": 3600,
        "hold_pieces": config.hold_pieces,
        "withheld": config.withheld,
        "waiting_s": config.waiting_s,
        "guesses": config.guesses,
        "out_ifindex": front,
        **uplinks.settings(config.uplinks, machine.ifindex),
    } | {"own_front_ifindex": 99 * config.own_pair, **_locating(machine, config)}
    machine.table("tag_keys")[0] = tag_keys(key, packets.OTHER_FRAME_KEY)
    one, other, everybody = slots(packets.VOUCH, IPv4Address(packets.CLIENT).packed)
    for slot, pieces in ((one, 0), (other, 0), (everybody, 1)):
        machine.table("hold_used")[slot] = config.held[pieces]
    _configure_servers(machine, config)
    _configure_service(machine, config)
    if config.flows is not None:
        flows.configure(machine, config.flows, SERVERS)
    for epoch in packets.COOKIE_KEYS:
        valid = epoch in config.key_epochs
        machine.table("cookie_keys")[epoch % constant("IPOS_EPOCHS")] = {
            "key": words(packets.COOKIE_KEYS[epoch]),
            "other": words(packets.OTHER_COOKIE_KEY),
            "epoch": epoch,
            "valid": valid * (3 if config.keys_change else 1),
        }
    machine.table("gates")[0] = {
        "foreign_ports": bits(config.foreign_ports, constant("IPOS_GATE_PORTS")),
        "foreign_addresses": bits(
            [kind_of(IPv4Address(one)) for one in config.foreign_addresses],
            constant("IPOS_GATE_ADDRESSES"),
        ),
        "deny_empty": config.deny_empty,
    }
    for prefix, length in config.deny:
        machine.table("deny")[{"prefix_len": length, "ip": network(prefix)}] = 1


def _configure_servers(machine: Machine, config: Config) -> None:
    states = dict(config.states)
    for index, (address, back_mac) in SERVERS.items():
        machine.table("servers")[index] = {
            "address": network(address),
            "back_ip": network(f"10.77.0.{index}"),
            "mac": mac(back_mac),
            "state": constant(f"IPOS_SERVER_{states.get(index, 'READY')}"),
        }
        if machine.family == 6:
            machine.table("identities")[{"address": network(address)}] = {"server": index}
        if index != config.me:
            machine.table("members")[{"bytes": mac(back_mac)}] = {"server": index}
    for index, (address, _) in SERVERS.items():
        machine.table("addresses")[
            {"ip": network(address), "port": config.service_port, "protocol": 6}
        ] = {"service": 1, "holder": index, "asks": config.asks}
        arp = constant(f"IPOS_ARP_{config.arp if index == 1 else 'KERNEL'}")
        machine.table("addresses")[{"ip": network(address)}] = {"holder": index, "arp": arp}


def _configure_service(machine: Machine, config: Config) -> None:
    machine.table("services")[1] = {
        "protocol": 6,
        "select": constant(f"IPOS_SELECT_{config.select}"),
        "used": config.used,
        "decide": constant(f"IPOS_DECIDE_{config.decide}"),
        "mode": constant(f"IPOS_MODE_{config.mode}"),
        "pool": 1,
        "port": config.service_port,
        **dict.fromkeys(("application_ip", "application_ip6"), network(config.application)),
        "application_port": packets.APPLICATION,
        "listening": 2 if config.listening else 1,
        "listener_ip": network(config.listener),
        "box": machine.ifindex(config.box) if config.box else 0,
        "box_netns": config.box_netns,
        "start_s": 20,
        "starts": constant(f"IPOS_STARTS_{config.starts}"),
    }
    machine.table("pools")[2] = _pool(config.listening)
    machine.table("pools")[1] = {
        **_pool(config.candidates, constant(f"IPOS_{config.policy}")), "turn": config.turn,
    }  # fmt: skip
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


def _way(sent: Sent) -> str:
    return "peer" if sent.peer else "neighbour" if sent.neighbour else ""


class NativeMachine:
    """A node in this process, with the row's clock."""

    kernel = False

    def __init__(self, sizes: Mapping[str, int] = SIZES, family: int = 4) -> None:
        self.node = Node(sizes, family)
        self.family = family
        self.moment = NOW_NS
        self.node.clock(NOW_NS)
        self.node.random_is(0)

    def close(self) -> None:
        self.node.close()

    def table(self, name: str) -> Rows:
        return self.node.table(name)

    def now_ns(self) -> int:
        return self.moment

    def monotonic_ns(self) -> int:
        return self.now_ns()

    def cpu(self) -> int:
        return 0

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

    def box(self, frame: bytes, where: str, mark: int, *, out: bool) -> Ran:
        outcome = self.node.box(frame, self.ifindex(where), mark, out=out)
        return self._ran(Tc(outcome.verdict), outcome)

    def establish(self, made: Socket, cookie: int, snd_nxt: int, op: int) -> None:
        self.node.sockops(made, cookie=cookie, snd_nxt=snd_nxt, op=op)

    def _ran(self, verdict: Xdp | Tc, outcome: Outcome) -> Ran:
        names = {self.ifindex(where): where for where in ("front", "back", "elsewhere")}
        sent = [Out(names[s.ifindex], s.frame, s.inward, s.mark, _way(s)) for s in outcome.sent]
        redirected = sent.pop() if verdict.name == "REDIRECT" else None
        return Ran(
            verdict.name.lower(), outcome.frame, tuple(sent), redirected, outcome.assigned,
            outcome.mark,
        )  # fmt: skip
