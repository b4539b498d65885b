# SPDX-License-Identifier: Apache-2.0
"""What one SYN of a flood costs a CPU, answer included: ours beside the kernel's own cookies.

A million addresses send SYNs in random order. BPF_PROG_TEST_RUN with live frames hands each to a
program as a driver would: what that redirects leaves by a veth, and what it passes is the kernel's.
The other end of the wire drops all that comes, in XDP. In every round each of these runs once:

    drop     XDP drops the SYN
    reflect  XDP sends it back with its addresses exchanged: the least an answer can be
    ipos     the data plane's SYN-ACK
    kernel   XDP passes it; a listener with tcp_syncookies = 2 answers

The time is that of the batch: program, driver, network stack, and the other end's drop.
"""

import argparse
import json
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import addressof, c_char
from pathlib import Path

from pyroute2 import IPRoute

from bench.packets import CLIENT_MAC, FRONT, SERVICE, WEB, Bench, Case, loaded, syn_frames
from bench.statistics import Estimate, estimate
from ipos.errors import IposError
from ipos.kernel.libbpf import syscall
from ipos.kernel.maps import Tables

ARMS = {"drop": "drop", "reflect": "reflect", "ipos": "ipos", "kernel": "pass"}
"""What is measured, and the program that does it."""
GOAL = 8.0
_LIVE = 2  # BPF_F_TEST_XDP_LIVE_FRAMES


def live(bench: Bench, case: Case, program: str, repeat: int) -> float:
    """Nanoseconds of one frame."""
    bench.replay(program, spread=True, live=True)
    frame = bytearray(case.frames[0])
    context = bytearray(struct.pack("=6I", 0, len(frame), 0, bench.interface("front"), 0, 0))
    places = [addressof((c_char * len(one)).from_buffer(one)) for one in (frame, context)]
    attributes = bytearray(
        struct.pack(
            "=IIIIQQIIIIQQIII4x",
            bench.replay_fd, 0, len(frame), 0, places[0], 0,
            repeat, 0, len(context), 0, places[1], 0, _LIVE, 0, 0,
        )
    )  # fmt: skip
    syscall.bpf(syscall.Command.PROG_TEST_RUN, attributes)
    return float(struct.unpack_from("=I", attributes, 36)[0])


@contextmanager
def listening(bench: Bench) -> Iterator[None]:
    """The kernel's side: it has the service's address, a listener, and a way to all clients."""
    Path("/proc/sys/net/ipv4/tcp_syncookies").write_text("2")
    for name in ("all", "front"):
        Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter").write_text("0")
    front = bench.interface("front")
    with IPRoute() as link, socket.socket() as listener:
        link.link("set", index=front, state="down")
        link.link("set", index=front, address=FRONT.hex(":"))
        link.link("set", index=front, state="up")
        link.addr("add", index=front, address=str(SERVICE), prefixlen=24)
        router = "203.0.113.254"
        link.neigh("add", dst=router, lladdr=CLIENT_MAC.hex(":"), ifindex=front, state="permanent")
        link.route("add", dst="10.0.0.0/8", gateway=router)
        peer = link.link_lookup(ifname="front-peer")[0]
        link.link("set", index=peer, xdp_fd=bench.program_fd("drop"))
        listener.bind((str(SERVICE), WEB))
        listener.listen(16)
        yield


def answered(tables: Tables) -> int:
    """SYNs that the data plane has answered."""
    return next(count for counter, count in tables.counters() if counter.name == "SYN_ACK")


def cookies_sent() -> int:
    """The kernel's own, in this namespace."""
    lines = Path("/proc/thread-self/net/netstat").read_text().splitlines()
    found = dict(zip(lines[0].split(), lines[1].split(), strict=True))
    return int(found["SyncookiesSent"])


def measure(
    bench: Bench, tables: Tables, rounds: int, repeat: int
) -> dict[str, tuple[Estimate, Estimate]]:
    """Per arm: nanoseconds of a SYN, and how many times that of ours. IposError when SYNs were
    not answered."""
    times: dict[str, list[float]] = {arm: [] for arm in ARMS}
    case = Case("flood", syn_frames(), 0, "drop", 0)
    bench.load(case.frames)
    for program in ARMS.values():
        live(bench, case, program, 1000)
    before = answered(tables), cookies_sent()
    for _ in range(rounds):
        for arm, program in ARMS.items():
            times[arm].append(live(bench, case, program, repeat))
    after = answered(tables), cookies_sent()
    for who, was, now in zip(("ipos", "the kernel"), before, after, strict=True):
        if now - was < rounds * repeat:
            raise IposError(f"{who} answered {now - was} of {rounds * repeat} SYNs")
    ours = times["ipos"]
    return {
        arm: (estimate(found), estimate([one / our for one, our in zip(found, ours, strict=True)]))
        for arm, found in times.items()
    }


def main() -> int:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("bench.flood", description=__doc__, formatter_class=shape)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--repeat", type=int, default=100_000, help="SYNs of each arm and round")
    parser.add_argument("--busy", action="store_true", help="beside a million connections")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise IposError("programs run in the kernel only for root; run: sudo make bench-flood")
    with loaded(busy=options.busy) as (bench, tables), listening(bench):
        found = measure(bench, tables, options.rounds, options.repeat)
    if options.json:
        print(json.dumps({
            arm: {"ns": ns.median, "ratio": ratio.median, "low": ratio.low, "high": ratio.high}
            for arm, (ns, ratio) in found.items()
        }))  # fmt: skip
        return 0
    print(f"{'SYN, a million clients':24}{'ns':>22}{'times ours':>26}")
    for arm, (ns, ratio) in found.items():
        print(
            f"{arm:24}{f'{ns.median:.0f} [{ns.low:.0f}, {ns.high:.0f}]':>22}"
            f"{f'{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]':>26}"
            + (f"   goal: at least {GOAL:.0f}" if arm == "kernel" else "")
        )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except IposError as error:
        sys.exit(f"bench: {error}")
