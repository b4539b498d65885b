# SPDX-License-Identifier: Apache-2.0
"""Run the judges against each other; the exit status is 1 if they differ in anything.

    python -m fuzz [--oracle N] [--kernel N] [--seed S] [--jobs J]

Without --oracle and --kernel: a million packets, a million request heads and a hundred thousand
streams of responses for the oracle, a hundred thousand packets for the kernel.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from multiprocessing import Pool

from fuzz import (
    approved,
    containers,
    endpoints,
    flows,
    frames,
    given,
    idle,
    kernel,
    locating,
    moves,
    selection,
    sessions,
    settled,
)
from tests.support import heads, hellos, responses, routes
from tests.support.golden.kernel_machine import kernel_machine

SHARES = (
    ("endpoints", 0.75), ("frames", 0.1), ("selection", 0.05), ("hellos", 0.05), ("routes", 0.05),
    ("heads", 1.0),  # a million of them
    ("responses", 0.1),
    ("moves", 0.02), ("sessions", 0.05), ("given", 0.05), ("idle", 0.02), ("locating", 0.05),
    ("settled", 0.05), ("approved", 0.002), ("flows", 0.05),
    ("containers", 0.01),
)  # fmt: skip
_BATCH = 10_000
_JUDGES = {
    "endpoints": endpoints.run,
    "frames": frames.run,
    "selection": selection.run,
    "hellos": hellos.run,
    "routes": routes.run,
    "heads": heads.run,
    "responses": responses.run,
    "moves": moves.run,
    "sessions": sessions.run,
    "given": given.run,
    "idle": idle.run,
    "locating": locating.run,
    "settled": settled.run,
    "approved": approved.run,
    "flows": flows.run,
    "containers": containers.run,
}

Batch = tuple[str, int, int]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--oracle", type=int, default=1_000_000, help="packets for the oracle")
    parser.add_argument("--kernel", type=int, default=100_000, help="packets for the kernel")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    failed = against_the_oracle(chosen.oracle, chosen.seed, chosen.jobs)
    if chosen.kernel and os.geteuid() == 0:
        failed |= against_the_kernel(chosen.kernel, chosen.seed)
    elif chosen.kernel:
        print("eBPF against the library needs root: skipped", file=sys.stderr)
    return int(failed)


def against_the_oracle(count: int, seed: int, jobs: int) -> bool:
    """Whether anything differed. Batches have seeds of their own, so jobs change nothing."""
    batches: list[Batch] = []
    for judge, share in SHARES:
        left = int(count * share)
        for number in itertools.count():
            if left <= 0:
                break
            batches.append((judge, seed * 1_000_003 + number, min(left, _BATCH)))
            left -= _BATCH
    totals = dict.fromkeys(_JUDGES, 0)
    failures: list[str] = []
    with Pool(jobs) as pool:
        for judge, done, found in pool.imap_unordered(_batch, batches):
            totals[judge] += done
            failures += found
            _tell(f"{sum(totals.values()):,} packets against the oracle")
    return _report({f"library against oracle, {name}": n for name, n in totals.items()}, failures)


def against_the_kernel(count: int, seed: int) -> bool:
    """Whether anything differed."""
    done = 0
    failures: list[str] = []
    with kernel_machine() as machine:
        for number in itertools.count():
            if done >= count or failures:
                break
            ran, failures = kernel.run(machine, seed * 1_000_003 + number, min(_BATCH, count))
            done += ran
            _tell(f"{done:,} packets against the kernel")
    return _report({"eBPF against library": done}, failures)


def _batch(batch: Batch) -> tuple[str, int, list[str]]:
    judge, seed, count = batch
    return judge, *_JUDGES[judge](seed, count)


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}", end="", file=sys.stderr, flush=True)


def _report(totals: dict[str, int], failures: list[str]) -> bool:
    if sys.stderr.isatty():
        print(file=sys.stderr)
    for name, count in totals.items():
        print(f"{name}: {count:,} packets")
    for failure in failures[:20]:
        print(f"differs: {failure}")
    print(f"{len(failures)} differences" if failures else "no difference")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
