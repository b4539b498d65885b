# SPDX-License-Identifier: Apache-2.0
"""The data plane as a library: the same C, run on nodes in this process.

`make objects` compiles the eBPF sources a second time for this machine, against helpers that ask
a `Node` instead of a kernel. A node is one iNIC: its tables, its clock and random numbers, the
sockets its kernel is said to have. Nothing happens by itself: a program runs when it is called,
with one frame, and answers what became of it.

    node = Node()
    node.table("settings")[0] = {"abi": 1, "front_ifindex": 2, "back_ifindex": 3, ...}
    outcome = node.xdp(frame, ifindex=2)

Frames are Ethernet frames without FCS, 14 to 3,520 bytes. Tables hold rows as dicts by the field
names of `abi/ipos.h` (`ipos.abi.layout`); `Node.store` gives the same bytes to `ipos.kernel.maps`.
"""

import ctypes
import struct
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any, Final, Self

from ipos.abi.layout import constant, header, layout
from native.binding import NativeError, Store, library, maps
from native.refusers import refusers
from native.shapes import Rows, shape_of
from native.structures import (
    SOCKETS,
    RawAsked,
    RawAssignment,
    RawAttributes,
    RawChoice,
    RawFrame,
    RawRecord,
    raw_socket,
)
from native.values import Assignment, Attributes, Outcome, Socket

PASSIVE_ESTABLISHED: Final = 5  # BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB


class Node:
    """One iNIC. Free it with `close`, or use it as a context."""

    def __init__(self, sizes: Mapping[str, int] | None = None, family: int = 4) -> None:
        """`sizes` gives maps by name another number of entries than the programs declare.

        family: 4 or 6, whose programs run; of the latter `addresses6` is the table `addresses`.

        The queue `hold_free` is filled with every index of `hold_pool`, as the loader does.
        """
        self.family = family
        self.library = library(family)
        handle = self.library.ipos_node_new()
        if not handle:
            raise NativeError("no memory for a node")
        self.handle: int | None = handle
        declared = maps(family)
        asked = {self._named(name): entries for name, entries in (sizes or {}).items()}
        if family == 6:  # what only IPv4's programs have
            asked = {name: asked[name] for name in asked.keys() & declared.keys()}
        self.sizes = {name: shape.max_entries for name, shape in declared.items()} | asked
        self._sockets: tuple[Socket, ...] = ()
        for name, entries in asked.items():
            if self.library.ipos_map_resize(handle, declared[name].index, entries):
                raise NativeError(f"map {name} cannot have {entries} entries")
        free = self.store("hold_free")
        for index in range(min(self.sizes["hold_free"], self.sizes["hold_pool"])):
            free.push(index.to_bytes(4, "little"))

    def close(self) -> None:
        if self.handle:
            self.library.ipos_node_free(self.handle)
            self.handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def store(self, name: str) -> Store:
        """A map as bytes; of a node of IPv6 also by IPv4's name."""
        return Store(self, maps(self.family)[self._named(name)])

    def table(self, name: str) -> Rows:
        """A map as rows of dicts."""
        return Rows(self.store(name), shape_of(self._named(name)))

    def _named(self, name: str) -> str:
        return f"{name}6" if self.family == 6 and f"{name}6" in maps(6) else name

    def counters(self) -> dict[str, int]:
        """The counters that are not zero, by name."""
        shape = maps(self.family)["counters"]
        values = self.library.ipos_map_values(self.handle, shape.index)
        raw = ctypes.string_at(values, shape.value_size * shape.max_entries)
        sums = struct.unpack(f"={shape.max_entries}Q", raw)
        return {c.name: sums[c.number] for c in header().counters if sums[c.number]}

    def asked(self) -> dict[str, tuple[int, int]]:
        """What the last program asked: of each map by name how often, and how often in vain."""
        found = {}
        for name, shape in maps(self.family).items():
            raw = RawAsked()
            self.library.ipos_map_asked(self.handle, shape.index, ctypes.byref(raw))
            if raw.times:
                found[name] = (raw.times, raw.vain)
        return found

    # ---- inputs -----------------------------------------------------------------------------

    def clock(self, now_ns: int) -> None:
        """The boottime clock, in nanoseconds."""
        self.library.ipos_node_clock(self.handle, now_ns)

    def cpu(self, number: int) -> None:
        """Which CPU runs the programs from now on."""
        self.library.ipos_node_cpu(self.handle, number)

    def seed(self, seed: int) -> None:
        """Start the generator of random numbers."""
        self.library.ipos_node_random(self.handle, seed, 0)

    def random_is(self, number: int) -> None:
        """Every random number from now on is this one."""
        self.library.ipos_node_random(self.handle, number, 1)

    def assign_answers(self, answer: int) -> None:
        """What giving a packet to a listener answers: 0, or a negative errno."""
        self.library.ipos_node_assign_answer(self.handle, answer)

    def emit_fails(self, fails: bool) -> None:
        """Whether cloning a frame out of an interface is refused."""
        self.library.ipos_node_emit_fails(self.handle, fails)

    @property
    def sockets(self) -> tuple[Socket, ...]:
        return self._sockets

    @sockets.setter
    def sockets(self, sockets: Sequence[Socket]) -> None:
        """All sockets of the node's kernel, at most 64."""
        made: Any = SOCKETS[self.family] * len(sockets)
        raw = made(*(raw_socket(socket, self.family) for socket in sockets))
        if self.library.ipos_node_sockets(self.handle, raw, len(sockets)):
            raise NativeError(f"a node has at most 64 sockets, not {len(sockets)}")
        self._sockets = tuple(sockets)

    # ---- programs ---------------------------------------------------------------------------

    def xdp(self, frame: bytes, ifindex: int) -> Outcome:
        """A frame comes in, before the kernel has seen it. The verdict is an `Xdp`."""
        return self._ran(self.library.ipos_run_xdp(self.handle, frame, len(frame), ifindex), frame)

    def ingress(self, frame: bytes, ifindex: int, mark: int = 0, quic: bool = False) -> Outcome:
        """A frame that XDP passed, or that was put back on ingress. The verdict is a `Tc`.

        quic: the program before it.
        """
        run = self.library.ipos_run_quic if quic else self.library.ipos_run_ingress
        return self._ran(run(self.handle, frame, len(frame), ifindex, mark), frame)

    def egress(self, frame: bytes, ifindex: int, mark: int = 0) -> Outcome:
        """A frame that the node's own kernel sends. The verdict is a `Tc`."""
        run = self.library.ipos_run_egress
        return self._ran(run(self.handle, frame, len(frame), ifindex, mark), frame)

    def box(self, frame: bytes, ifindex: int, mark: int = 0, *, out: bool = False) -> Outcome:
        """A frame at a container's end of its wire; out: at our end."""
        ran = self.library.ipos_run_box(self.handle, frame, len(frame), ifindex, mark, out)
        return self._ran(ran, frame)

    def sockops(
        self, socket: Socket, *, cookie: int, snd_nxt: int, op: int = PASSIVE_ESTABLISHED
    ) -> None:
        """The kernel tells of a socket of its own; `socket` has its four-tuple and rcv_nxt."""
        raw = raw_socket(socket, self.family)
        self.library.ipos_run_sockops(self.handle, op, ctypes.byref(raw), cookie, snd_nxt)

    def route(
        self, service: int, host: bytes, path: bytes, offers: Sequence[bytes] = ()
    ) -> tuple[int, int]:
        """(pool, number of the rule or 0) for a request read as this host and path, "" for none.

        offers: the protocols of a ClientHello, which fit into a request's list.
        """
        sent = b"".join(bytes([len(name)]) + name for name in offers)
        room = constant("IPOS_PATH_MAX")
        request = layout("ipos_request").pack(
            {
                "service": service,
                "host_len": len(host),
                "path_len": min(len(path), room),
                "offers_len": len(sent),
                "offers": sent,
                "host": host,
                "path": path[:room].ljust(room, b"a"),  # as an earlier request may have left it
            }
        )
        choice = RawChoice()
        self.library.ipos_run_route(self.handle, request, ctypes.byref(choice))
        return choice.pool, choice.rule

    def session(self, now_ns: int, refused: Collection[int] = ()) -> tuple[int, int, bool]:
        """(server, 0 for "choose"; `selection.sessions.Standing`; its response gets a cookie) of
        the request that was read last; `refused` are the servers that have refused it.
        """
        choice, by = RawChoice(), refusers(refused)
        server = self.library.ipos_decide_pool(self.handle, by, now_ns, ctypes.byref(choice))
        return server, choice.session, bool(choice.insert)

    def choose(
        self,
        pool: int,
        client: IPv4Address,
        random: int,
        refused: Collection[int] = (),
        *,
        returned: bool = False,
    ) -> tuple[int, int]:
        """(server, its application's port) for a request of this client; server 0: none.

        `random` has 64 bits; `refused` are the servers that have refused it. returned: an
        application has given the connection back.
        """
        port, by = ctypes.c_uint32(), refusers(refused)
        raw = int.from_bytes(client.packed, sys.byteorder)
        server = self.library.ipos_choose(
            self.handle, pool, by, random, raw, returned, ctypes.byref(port)
        )
        return server, port.value

    def read(self, pieces: Iterable[bytes], service: int = 0, mode: int = 0) -> bytes:
        """A request head by itself: `struct ipos_request` after these pieces, of 1 to 1024 bytes.

        As the data plane does, it stops at the piece that decides. mode: enum ipos_mode.
        """
        lib, handle = self.library, self.handle
        lib.ipos_request_open(handle, service, mode)
        for piece in pieces:
            if lib.ipos_request_feed(handle, piece, len(piece)):
                break
        return ctypes.string_at(lib.ipos_request(handle), layout("ipos_request").size)

    def head_end(self, pieces: Iterable[bytes], mode: int = 0) -> int | None:
        """Where a head ends, by the machine that looks at held bytes as they come; None: later."""
        lib, handle = self.library, self.handle
        lib.ipos_head_open(handle, mode)
        before = 0
        for piece in pieces:
            end: int = lib.ipos_head_feed(handle, piece, len(piece))
            if end >= 0:
                return before + end
            before += len(piece)
        return None

    def _ran(self, error: int, frame: bytes) -> Outcome:
        if error:
            raise NativeError(f"a frame of {len(frame)} bytes is not between 14 and 3520")
        lib, handle = self.library, self.handle
        after: RawFrame = lib.ipos_frame(handle).contents
        sent = []
        for i in range(lib.ipos_sent(handle)):
            out: RawFrame = lib.ipos_sent_at(handle, i).contents
            sent.append(out.sent)
        assigned = [
            self._assignment(lib.ipos_assigned_at(handle, i).contents)
            for i in range(lib.ipos_assigned(handle))
        ]
        rings: dict[int, list[bytes]] = {
            maps(self.family)[name].index: []
            for name in ("captured", "decisions", "silent", "awaiting")
        }
        for i in range(lib.ipos_records(handle)):
            record: RawRecord = lib.ipos_record_at(handle, i).contents
            raw = ctypes.string_at(ctypes.addressof(record) + RawRecord.bytes.offset, record.length)
            rings[record.map].append(raw)
        return Outcome(
            lib.ipos_verdict(handle),
            after.data,
            tuple(sent),
            tuple(assigned),
            lib.ipos_metadata(handle),
            after.mark,
            *map(tuple, rings.values()),
        )

    def _assignment(self, raw: RawAssignment) -> Assignment:
        listener = self._sockets[raw.socket]
        if not raw.request:
            return Assignment(listener, None)
        a: RawAttributes = raw.attributes
        return Assignment(
            listener,
            Attributes(
                a.rcv_tsval, a.rcv_tsecr, a.mss, a.rcv_wscale, a.snd_wscale, bool(a.ecn_ok),
                bool(a.wscale_ok), bool(a.sack_ok), bool(a.tstamp_ok), bool(a.usec_ts_ok),
            ),
        )  # fmt: skip
