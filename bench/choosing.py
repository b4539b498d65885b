# SPDX-License-Identifier: Apache-2.0
"""What the choice of a server takes, in nanoseconds, by the number of a pool's candidates.

`choose` runs 64 times in each run of BPF_PROG_TEST_RUN, with other random numbers each time; an
empty program's time is taken off.
"""

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

from bench.reading import compiled
from bench.statistics import Estimate, estimate
from ipos.abi import rows
from ipos.agent.rows.pools import pool_row
from ipos.kernel.libbpf import Map, prog_test_run
from ipos.kernel.libbpf.objects import BpfObject
from ipos.kernel.maps import Tables

SIZES = (1, 3, 64, 256, 1000)
CHOICES = 64
POOL = 1
POLICIES = (rows.Policy.LEAST_LOADED, rows.Policy.RANDOM, rows.Policy.ROUND_ROBIN,
            rows.Policy.LEAST_CONNECTIONS)  # fmt: skip
TARGET_NS = 150


def measure(rounds: int, repeat: int) -> dict[tuple[str, int, int], Estimate]:
    """Nanoseconds of a choice by (policy, candidates, how many in a hundred are down)."""
    taken: dict[tuple[str, int, int], list[float]] = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        program = stack.enter_context(
            BpfObject(compiled(directory, Path(__file__).with_suffix(".bpf.c")))
        )
        program.load()
        opened = {
            name: stack.enter_context(Map(os.dup(one.fd)))
            for name, one in program.maps.items()
            if not one.internal
        }
        tables = Tables(Path(), lambda path: opened[path.name])

        def run(name: str) -> float:
            return prog_test_run(program.program_fd(name), bytes(64), repeat=repeat).duration_ns

        for _ in range(rounds):
            floor = run("bench_empty")
            for size in SIZES:
                for down in (0, 30):
                    for n in range(1, size + 1):
                        is_down = n % 100 < down and n > 1
                        state = rows.ServerState.DOWN if is_down else rows.ServerState.READY
                        address = IPv4Address("10.0.0.0") + n
                        tables.servers.put(n, rows.Server(address, address, bytes(6), state))
                    for policy in POLICIES:
                        candidates = [rows.Candidate(n, 80, 1, 256) for n in range(1, size + 1)]
                        tables.pools.put(POOL, pool_row(policy, candidates, firsts=size))
                        ns = (run("bench_choose") - floor) / CHOICES
                        taken.setdefault((policy.name, size, down), []).append(ns)
    return {key: estimate(ns) for key, ns in taken.items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.choosing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--repeat", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.rounds, options.repeat)
    if options.json:
        print(json.dumps([[*key, ns.median, ns.low, ns.high] for key, ns in found.items()]))
        return 0
    print("ns of one choice   " + "".join(f"{size:>20}" for size in SIZES))
    for policy in POLICIES:
        for down in (0, 30):
            cells = (found[policy.name, size, down] for size in SIZES)
            shown = "".join(
                f"{f'{ns.median:.0f} [{ns.low:.0f}, {ns.high:.0f}]':>20}" for ns in cells
            )
            print(f"{policy.name.lower():18} {shown}  {down} in 100 down")
    worst = found[rows.Policy.LEAST_LOADED.name, 64, 0].median
    print(f"least-loaded among 64: {worst:.0f} ns, target at most {TARGET_NS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
