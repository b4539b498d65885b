# SPDX-License-Identifier: Apache-2.0
"""What forwarding one packet takes beside Katran's balancer: python -m bench.katran OBJECT.

OBJECT is Katran's `balancer.bpf.c`, compiled for IPIP (its default). Both programs get the same
frames of the same flows in the same round, replayed as in `bench.packets`; Katran has one VIP, one
real, and for each CPU a table of connections (its LRU) with room for all flows. It encapsulates in
IPv4 and sends back where the frame came from; ours encapsulates with a tag for the other server and
sends to another interface.
"""

import argparse
import os
import struct
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

from bench.packets import (
    CLIENT_MAC,
    DROP,
    FLOWS,
    OTHER,
    REDIRECT,
    SERVICE,
    WEB,
    Bench,
    Case,
    fastest,
    frames,
    loaded,
)  # fmt: skip
from bench.statistics import Estimate, estimate
from ipos.errors import IposError
from ipos.kernel.libbpf import Map, syscall
from ipos.kernel.libbpf.objects import BpfObject

_TX = 3
_RING = 65_537
"""Places of one VIP in Katran's table of reals."""
_LRU_ROOM = 2 * FLOWS
_TCP = 6
_PROGRAM = "balancer_ingress"
CASES = (
    Case("forward, warm", frames(), REDIRECT, "katran", 1.05),
    Case("forward, 1 M flows", frames(), REDIRECT, "katran", 0, spread=True),
)


def configure(katran: BpfObject) -> None:
    """One VIP, the address and port of the frames, whose only real is the other server."""
    number = partial(struct.pack, "=I")

    def opened(name: str) -> closing[Map]:
        return closing(Map(os.dup(katran.maps[name].fd)))

    with opened("ctl_array") as control:
        control.update(number(0), CLIENT_MAC.ljust(control.value_size, b"\0"))
    with opened("vip_map") as vips:
        vip = SERVICE.packed.ljust(16, b"\0") + struct.pack("!HB", WEB, _TCP)
        vips.update(vip.ljust(vips.key_size, b"\0"), struct.pack("=II", 0, 0))
    with opened("reals") as reals:
        reals.update(number(1), OTHER.packed.ljust(reals.value_size, b"\0"))
    with opened("ch_rings") as ring:
        ring.update_all({number(place): number(1) for place in range(_RING)})
    with opened("fallback_cache") as like, opened("lru_mapping") as tables:
        sizes = like.key_size, like.value_size
        for cpu in range(os.cpu_count() or 1):
            made = syscall.map_create(syscall.MapType.LRU_HASH, *sizes, _LRU_ROOM, "connections")
            try:
                tables.update(number(cpu), number(made))
            finally:
                os.close(made)


def measure(bench: Bench, rounds: int, repeat: int) -> dict[str, list[Estimate]]:
    """Per case: nanoseconds of ours and of Katran's, without the replay, and their ratio."""
    samples: dict[str, list[tuple[float, float]]] = {}
    for case in CASES:
        bench.load(case.frames)
        for _ in range(2 * FLOWS // repeat + 1 if case.spread else 1):  # its table learns
            bench.run(case, "katran", repeat, _TX)
    for _ in range(rounds):
        for case in CASES:
            bench.load(case.frames)
            drop = fastest(bench, case, repeat, "drop", DROP)
            ours = fastest(bench, case, repeat, "ipos", case.verdict) - drop
            theirs = fastest(bench, case, repeat, "katran", _TX) - drop
            samples.setdefault(case.name, []).append((ours, theirs))
    return {
        name: [
            estimate([ours for ours, _ in found]),
            estimate([theirs for _, theirs in found]),
            estimate([ours / max(theirs, 1) for ours, theirs in found]),
        ]
        for name, found in samples.items()
    }


def main() -> int:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("bench.katran", description=__doc__, formatter_class=shape)
    parser.add_argument("object", type=Path, help="Katran's balancer, compiled")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--repeat", type=int, default=20_000, help="packets of each run")
    parser.add_argument("--flows", type=int, default=64, help="a power of two, at most 1,024")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise IposError("programs run in the kernel only for root; run it with sudo")
    if not options.object.is_file():
        raise IposError(f"there is no {options.object}: compile Katran's balancer.bpf.c first")
    with loaded() as (bench, _), BpfObject(options.object) as katran:
        katran.load()
        configure(katran)
        bench.flows = options.flows
        bench.add("katran", katran.program_fd(_PROGRAM))
        found = measure(bench, options.rounds, options.repeat)
    print(f"{'packet':24}{'ours, ns':>24}{'Katran, ns':>24}{'ratio':>24}")
    for name, estimates in found.items():
        cells = (f"{one.median:.3g} [{one.low:.3g}, {one.high:.3g}]" for one in estimates)
        print(f"{name:24}" + "".join(f"{cell:>24}" for cell in cells))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except IposError as error:
        sys.exit(f"bench: {error}")
