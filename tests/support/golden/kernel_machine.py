# SPDX-License-Identifier: Apache-2.0
"""Golden rows on the kernel's own eBPF, frame by frame through BPF_PROG_TEST_RUN.

A network namespace with two veth pairs stands for the server's interfaces. Clones that a program
sends are real: a packet socket sees them leave, or come in where a program put them on ingress.
A redirect is a verdict only; TEST_RUN shows the packet, not where it would have gone.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyroute2 import IPRoute, netns

from ipos.abi import header_data
from ipos.abi.layout import header, layout
from ipos.kernel import data_plane
from ipos.kernel.hooks import Attachment, Hook
from ipos.kernel.libbpf import Map, prog_test_run
from native import roles
from native.shapes import Rows, shape_of
from native.values import Socket, SocketState, Tc, Xdp
from tests.support.golden.machine import (
    CONNECTIONS,
    SIZES,
    WALL_NS,
    Out,
    Ran,
    connection_key,
)
from tests.support.plane import pin_place

_OUTGOING = 4  # sll_pkttype of linux/if_packet.h
_SOL_PACKET, _AUXDATA, _VLAN_VALID = 263, 8, 1 << 4
_IP_TRANSPARENT, _TCP_REPAIR, _REPAIR_QUEUE, _QUEUE_SEQ = 19, 19, 20, 21
_RECEIVE_QUEUE, _SEND_QUEUE = 1, 2


_BOXES = ("box_in", "box_out")


class KernelMachine:
    """The pinned data plane of `pin_dir`, in a namespace that this thread is in."""

    kernel = True

    def __init__(self, pin_dir: Path, interfaces: dict[str, int], family: int = 4) -> None:
        self.family = family
        self.pin_dir = pin_dir
        self._interfaces = interfaces
        self._maps: dict[str, Map] = {}
        self._programs = {
            name: data_plane.program_fd(pin_dir, f"ipos_{name}{'6' if family == 6 else ''}")
            for name in ("xdp", "ingress", "egress", *(_BOXES if family == 4 else ()))
        }
        self._sockets: list[socket.socket] = []
        self._cpus = os.sched_getaffinity(0)  # programs run on the CPU that asks for it
        self._cpu = min(self._cpus)
        os.sched_setaffinity(0, {self._cpu})
        self._tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._tap.setsockopt(_SOL_PACKET, _AUXDATA, 1)
        self._tap.setblocking(False)
        self._counted: dict[str, int] = {}
        self.reset()

    def close(self) -> None:
        os.sched_setaffinity(0, self._cpus)
        self._close_sockets()
        self._tap.close()
        for fd in self._programs.values():
            os.close(fd)
        for opened in self._maps.values():
            opened.close()

    def reset(self) -> None:
        """Empty tables, every counter from here."""
        self._close_sockets()
        tables = [*CONNECTIONS, "left_behind", "deny", "addresses", "members"]
        for name in (*tables, *(["identities"] if self.family == 6 else [])):
            opened = self._store(name)
            for key in [key for key, _ in opened.items()]:
                opened.delete(key)
        for name in ("servers", "services", "pools", "traffic", "editions", "heard"):
            opened = self._map(name)
            for index in range(8):
                opened.update(index.to_bytes(4, "little"), bytes(opened.value_size))
        tuple_shape = layout("ipos_tuple6" if self.family == 6 else "ipos_tuple")
        self.table("locks")[roles.mix(tuple_shape.pack(connection_key())) >> 48] = 0
        free = self._map("hold_free")
        while free.take(b"") is not None:
            pass
        for index in range(SIZES["hold_pool"]):
            free.update(b"", index.to_bytes(4, "little"))
        self._counted = {}
        self._counted = self.counters()
        self.heard()

    def _named(self, name: str) -> str:
        return f"{name}6" if self.family == 6 and f"{name}6" in header_data.MAPS else name

    def _map(self, name: str) -> Map:
        name = self._named(name)
        if name not in self._maps:
            self._maps[name] = Map.open(self.pin_dir / "maps" / name)
        return self._maps[name]

    def table(self, name: str) -> Rows:
        return Rows(self._store(name), shape_of(self._named(name)))

    def _store(self, name: str) -> Map | roles.CountedMap:
        opened = self._map(name)
        return roles.CountedMap(opened, self._map("roles"), name) if name in roles.ROLES else opened

    def now_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def monotonic_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def cpu(self) -> int:
        return self._cpu

    def set_wall(self) -> None:
        """Time goes on between rows; the epoch of a row does not."""
        settings = self.table("settings")
        settings[0] = {**settings[0], "wall_offset_ns": WALL_NS - self.now_ns()}

    def leave_pieces(self, count: int) -> None:
        for _ in range(SIZES["hold_pool"] - count):
            self._map("hold_free").take(b"")

    def ifindex(self, where: str) -> int:
        return self._interfaces[where]

    def counters(self) -> dict[str, int]:
        table = self.table("counters")
        now = {counter.name: table[counter.number] for counter in header().counters}
        since = {name: count - self._counted.get(name, 0) for name, count in now.items()}
        return {name: count for name, count in since.items() if count}

    # ---- programs ---------------------------------------------------------------------------

    def fd(self, program: str) -> int:
        return self._programs[program]

    def xdp(self, frame: bytes, where: str) -> Ran:
        context = struct.pack("=6I", 0, len(frame), 0, self.ifindex(where), 0, 0)
        ran = prog_test_run(self._programs["xdp"], frame, context)
        data, end, meta = struct.unpack_from("=3I", ran.context)
        assert end - meta == len(ran.data), "the packet starts at its metadata"
        return self._ran(Xdp(ran.retval).name, ran.data[data - meta :], 0)

    def ingress(self, frame: bytes, where: str, mark: int = 0) -> Ran:
        return self._tc("ingress", frame, where, mark)

    def egress(self, frame: bytes, where: str, mark: int = 0) -> Ran:
        return self._tc("egress", frame, where, mark)

    def box(self, frame: bytes, where: str, mark: int, *, out: bool) -> Ran:
        return self._tc("box_out" if out else "box_in", frame, where, mark)

    def establish(self, made: Socket, cookie: int, snd_nxt: int, op: int) -> None:
        raise LookupError("sockops programs have no TEST_RUN")

    def _tc(self, program: str, frame: bytes, where: str, mark: int) -> Ran:
        context = bytearray(192)  # struct __sk_buff
        struct.pack_into("=I", context, 8, mark)
        struct.pack_into("=I", context, 40, self.ifindex(where))
        ran = prog_test_run(self._programs[program], frame, bytes(context))
        (after,) = struct.unpack_from("=I", ran.context, 8)
        verdict = ran.retval - (1 << 32) * (ran.retval >> 31)
        return self._ran(Tc(verdict).name, ran.data, after)

    def _ran(self, verdict: str, frame: bytes, mark: int) -> Ran:
        redirected = Out("", frame) if verdict == "REDIRECT" else None
        return Ran(verdict.lower(), frame, tuple(self.heard()), redirected, (), mark)

    def heard(self) -> list[Out]:
        """What went over front and back since the last time, frames to our own ingress last."""
        out: list[Out] = []
        inward: list[Out] = []
        while True:
            try:
                frame, extra, _, (interface, _, kind, _, _) = self._tap.recvmsg(65536, 64)
            except BlockingIOError:
                return out + inward
            if interface not in self._interfaces:
                continue
            frame = _tagged(frame, extra)
            if kind == _OUTGOING:
                out.append(Out(interface, frame))
            else:
                inward.append(Out(interface, frame, inward=True))

    # ---- sockets ----------------------------------------------------------------------------

    def listen(self, sockets: Sequence[Socket]) -> None:
        """Real ones. LookupError for a state that cannot be had without a peer."""
        self._close_sockets()
        for wanted in sockets:
            if wanted.state is SocketState.LISTEN:
                self._listener(wanted)
            elif wanted.state is SocketState.CLOSE:
                self._udp(wanted)
            elif wanted.state is SocketState.ESTABLISHED:
                self._established(wanted)
            else:
                raise LookupError(f"no socket in {wanted.state.name} can be made here")

    def _listener(self, wanted: Socket) -> None:
        made = self._socket()
        if self.family == 6:  # the address is IPv4's number, which no interface here has
            made.bind(("::", wanted.service_port))
        else:
            made.bind((str(wanted.service), wanted.service_port))
        made.listen(wanted.backlog)
        for _ in range(wanted.queued):
            self._socket().connect((str(wanted.service), wanted.service_port))

    def _udp(self, wanted: Socket) -> None:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sockets.append(made)
        made.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
        made.bind((str(wanted.service), wanted.service_port))

    def _established(self, wanted: Socket) -> None:
        """Without a packet: TCP_REPAIR is how checkpoints of processes come back."""
        made = self._socket()
        made.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
        made.setsockopt(socket.SOL_TCP, _TCP_REPAIR, 1)
        made.bind((str(wanted.service), wanted.service_port))
        for queue, seq in ((_SEND_QUEUE, wanted.snd_nxt or 1), (_RECEIVE_QUEUE, wanted.rcv_nxt)):
            made.setsockopt(socket.SOL_TCP, _REPAIR_QUEUE, queue)
            made.setsockopt(socket.SOL_TCP, _QUEUE_SEQ, struct.pack("=I", seq))
        made.connect((str(wanted.client), wanted.client_port))

    def _socket(self) -> socket.socket:
        made = socket.socket(
            socket.AF_INET if self.family == 4 else socket.AF_INET6, socket.SOCK_STREAM
        )
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sockets.append(made)
        return made

    def _close_sockets(self) -> None:
        for made in self._sockets:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
            made.close()
        self._sockets = []


def _tagged(frame: bytes, extra: list[tuple[int, int, bytes]]) -> bytes:
    """A received frame with its VLAN tag, which the kernel keeps beside it."""
    for level, kind, data in extra:
        if (level, kind) == (_SOL_PACKET, _AUXDATA):
            status, _, _, _, _, tci, protocol = struct.unpack("=IIIHHHH", data)  # tpacket_auxdata
            if status & _VLAN_VALID:
                return frame[:12] + struct.pack("!HH", protocol, tci) + frame[12:]
    return frame


@contextmanager
def kernel_machine(family: int = 4) -> Iterator[KernelMachine]:
    """The data plane loaded and its interfaces made; all gone afterwards. family: whose programs
    run.
    """
    name = f"golden{family}-{os.getpid()}"
    netns.create(name)
    try:
        netns.pushns(name)
        try:
            Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
            interfaces = _wires()
            with pin_place() as place:
                data_plane.load(data_plane.objects_directory(), place, SIZES, six=family == 6)
                # TEST_RUN takes a receive queue only where XDP is on.
                plan = [
                    Attachment(Hook.XDP, interfaces[where])
                    for where in ("front", "back", "elsewhere")
                ]
                data_plane.attach(place, plan)
                machine = KernelMachine(place, interfaces, family)
                try:
                    yield machine
                finally:
                    machine.close()
        finally:
            netns.popns()
    finally:
        netns.remove(name)


def _wires() -> dict[str, int]:
    found = {}
    with IPRoute() as link:
        for where in ("front", "back", "elsewhere"):
            link.link("add", ifname=where, kind="veth", peer=f"{where}-peer")
            for end in (where, f"{where}-peer"):
                link.link("set", index=link.link_lookup(ifname=end)[0], state="up")
            found[where] = link.link_lookup(ifname=where)[0]
        link.link("set", index=link.link_lookup(ifname="lo")[0], state="up")
        link.route("add", dst="10.99.0.0/24", oif=found["front"])
    return found
