# SPDX-License-Identifier: Apache-2.0
"""A back LAN that loses frames, doubles them and lets others overtake them, by a seed.

A program at the switch's ends of the cables drops some of the frames and sends some twice. Those
that are to come late it gives to a process of its own, by an interface that leads nowhere, which
sends them after a while. Linux has netem for this, where its kernel is built with it.
"""

from __future__ import annotations

import heapq
import random
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pyroute2 import IPRoute

from ipos.kernel.libbpf import syscall
from ipos.kernel.libbpf.map_store import Map
from ipos.kernel.libbpf.objects import BpfObject
from ipos.lab import Lab, namespaces
from ipos.lab.places import Place
from ipos.lab.plan import BACK_LAN, SWITCH
from tests.support.plane import compile_objects

_MARK = 0x0C4A05
_SO_MARK = 36
_LATE_S = 0.03
_OUTGOING = 4
_HEAD = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "Dual BSD/GPL";
"""
_SOURCE = f"""
struct setup {{ __u32 lose, twice, late, where; __u64 turn; }};
struct {{ __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64);
         __type(key, __u32); __type(value, struct setup); }} setups SEC(".maps");

SEC("tc") int unruly(struct __sk_buff *skb)
{{
    __u32 port = skb->ifindex, x;
    struct setup *s = bpf_map_lookup_elem(&setups, &port);

    if (!s || skb->mark == {_MARK:#x})
        return -1;
    x = __sync_fetch_and_add(&s->turn, 0x9e3779b9);
    x ^= x >> 16; x *= 0x7feb352d; x ^= x >> 15; x *= 0x846ca68b; x ^= x >> 16;
    if (x % 100 < s->lose)
        return 2;
    x = (x >> 7) % 100;
    if (x < s->late)
        return bpf_redirect(s->where, 0);
    if (x < s->late + s->twice) {{
        skb->mark = {_MARK:#x};
        bpf_clone_redirect(skb, port, 0);
        skb->mark = 0;
    }}
    return -1;
}}
"""


class _Late(threading.Thread):
    """Sends what has come by the interfaces that lead nowhere, after a while."""

    def __init__(self, pairs: list[tuple[socket.socket, socket.socket]], seed: int) -> None:
        super().__init__(daemon=True)
        self._ways = dict(pairs)
        self._chance = random.Random(seed)
        self.over = threading.Event()
        self.sent = 0

    def run(self) -> None:
        waiting: list[tuple[float, int, bytes, socket.socket]] = []
        number = 0
        while not self.over.is_set():
            wait_s = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 0.1
            for one in select.select(list(self._ways), [], [], min(wait_s, 0.1))[0]:
                frame, source = one.recvfrom(1 << 16)
                if source[2] == _OUTGOING:
                    number += 1
                    due_s = time.monotonic() + self._chance.random() * _LATE_S
                    heapq.heappush(waiting, (due_s, number, frame, self._ways[one]))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, frame, to = heapq.heappop(waiting)
                try:
                    to.send(frame)
                    self.sent += 1
                except OSError:
                    pass  # too long: it is lost


@contextmanager
def unruly_back(lab: Lab, lose: int, twice: int, late: int, seed: int) -> Iterator[None]:
    """Percent of the frames to each server on back."""
    with ExitStack() as stack:
        stack.enter_context(namespaces.entered(Place(lab.name, SWITCH).namespace))
        directory = Path(stack.enter_context(TemporaryDirectory()))
        compile_objects(directory, header=_HEAD, unruly=_SOURCE)
        program = stack.enter_context(BpfObject(directory / "unruly.bpf.o"))
        program.load()
        netlink = stack.enter_context(IPRoute())
        setups = Map(program.maps["setups"].fd)
        pairs = []
        ports = [
            node.port(interface)
            for node in lab.nodes.values()
            for interface in node.interfaces
            if interface.lan == BACK_LAN
        ]
        for number, port in enumerate(ports):
            (index,) = netlink.link_lookup(ifname=port)
            netlink.link("add", ifname=f"late{number}", kind="veth", peer=f"end{number}")
            (where,) = netlink.link_lookup(ifname=f"late{number}")
            stack.callback(netlink.link, "del", index=where)
            netlink.link("set", index=where, state="up")
            pair = _socket(f"late{number}"), _socket(port)
            pairs.append(pair)
            for one in pair:
                stack.callback(one.close)
            pair[1].setsockopt(socket.SOL_SOCKET, _SO_MARK, _MARK)
            row = b"".join(each.to_bytes(4, sys.byteorder) for each in (lose, twice, late, where))
            turn = (seed * 1_000_003 + number).to_bytes(8, sys.byteorder)
            setups.update(index.to_bytes(4, sys.byteorder), row + turn)
            link = syscall.link_create(
                program.program_fd("unruly"), index, syscall.ATTACH_TCX_EGRESS, 0
            )
            stack.callback(syscall.link_detach, link)
        thread = _Late(pairs, seed)
        thread.start()
        stack.callback(thread.join)
        stack.callback(thread.over.set)
        yield


def _socket(interface: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    made.bind((interface, 0))
    return made
