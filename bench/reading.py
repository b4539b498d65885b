# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.reading`: what it costs the data plane to decide about a request head.

The reader, the URL map and the sessions run in the kernel by BPF_PROG_TEST_RUN, the same code as in
the data plane, on the heads and tables of `bench.deciding`. Each step is timed with all before it,
and an empty program's time is taken off:

    fetched   the head is copied to where it is read; one longer than a piece out of the hold pool
    read      and read: host, path, session cookie, body
    routed    and looked up among 10,000 rules
    insert    and decided, by the value of an inserted session cookie
    learn     and decided, by the row of a learned one

The clock is not read: the data plane has read it once for the packet.

Root, clang and a quiet machine. All is measured in turn, round by round; a number is the median of
the rounds, with its interval at 95 %.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.deciding import CHUNK, RULES, SESSIONS, farm, head, hold
from bench.statistics import Estimate, estimate
from ipos.abi.layout import constant
from ipos.errors import IposError
from ipos.kernel.libbpf import Map, prog_test_run
from ipos.kernel.libbpf.objects import BpfObject

SIZES = (200, 400, 1000, 4000)  # bytes
STEPS = {
    "fetched": "fetch",
    "read": "read",
    "routed": "route",
    "insert": "decide",
    "learn": "decide",
}


@dataclass(frozen=True, slots=True)
class Timed:
    """Nanoseconds of a head up to a step, less an empty program's."""

    size: int
    step: str
    ns: Estimate


READING = Path(__file__).with_suffix(".bpf.c")


def compiled(directory: Path, source: Path = READING) -> Path:
    """The programs to be timed, with the data plane's own code in them."""
    made = directory / source.with_suffix(".o").name
    sources = Path(__file__).parents[1] / "bpf"
    command = ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", f"-I{sources}",
               f"-I/usr/include/{os.uname().machine}-linux-gnu", "-Wno-unused-function",
               "-c", str(source), "-o", str(made)]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        subprocess.run(["llvm-strip", "-g", str(made)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", None) or error
        raise IposError(f"the programs to be timed cannot be compiled: {told}") from None
    return made


@contextmanager
def loaded() -> Iterator[tuple[BpfObject, Callable[[str], Map]]]:
    """The programs in the kernel, and their maps by name."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        programs = stack.enter_context(BpfObject(compiled(directory)))
        programs.load()
        opened = {
            name: stack.enter_context(Map(os.dup(one.fd)))
            for name, one in programs.maps.items()
            if not one.internal
        }
        yield programs, opened.__getitem__


def measure(rounds: int, repeat: int) -> tuple[Estimate, list[Timed]]:
    """What an empty program takes, and every step of every head without that, in nanoseconds."""
    empty: list[float] = []
    taken: dict[tuple[int, str], list[float]] = {}
    with loaded() as (programs, opened):
        begin_session = farm(opened)

        def run(name: str, data: bytes) -> float:
            frame = bytes(12) + b"\x88\xb5" + data[:CHUNK]
            ran = prog_test_run(programs.program_fd(name), frame, repeat=repeat)
            if ran.retval != constant("IPOS_READ_DONE"):
                raise IposError(f"{name} did not decide about a head of {len(data)} bytes")
            return ran.duration_ns

        for _ in range(rounds):
            floor = run("bench_empty", head(SIZES[0]))
            empty.append(floor)
            for size in SIZES:
                for step, program in STEPS.items():
                    session = step if step in SESSIONS else "learn"
                    begin_session[session]()
                    data = head(size, session)
                    if size > CHUNK:
                        hold(opened, data)
                    name = f"{'held' if size > CHUNK else 'bench'}_{program}"
                    taken.setdefault((size, step), []).append(run(name, data) - floor)
    found = [Timed(size, step, estimate(ns)) for (size, step), ns in taken.items()]
    return estimate(empty), found


def slope(found: list[Timed], step: str, low: int, high: int) -> float:
    """Nanoseconds for each byte more, between heads of two sizes."""
    at = {one.size: one.ns.median for one in found if one.step == step}
    return (at[high] - at[low]) / (high - low)


def _table(empty: Estimate, found: list[Timed]) -> str:
    floor = f"{empty.median:.0f} ns [{empty.low:.0f}, {empty.high:.0f}]"
    lines = [f"an empty program: {floor}, taken off; {RULES:,} rules"]
    lines.append("    bytes" + "".join(f"{step:>22}" for step in STEPS))
    for size in SIZES:
        cells = [one.ns for one in found if one.size == size]
        shown = (f"{ns.median:.0f} ns [{ns.low:.0f}, {ns.high:.0f}]" for ns in cells)
        lines.append(f"{size:9}" + "".join(f"{cell:>22}" for cell in shown))
    for low, high in ((400, 1000), (1000, 4000)):
        shown = (f"{slope(found, step, low, high):.2f} ns/byte" for step in STEPS)
        lines.append(f"{low}-{high}".rjust(9) + "".join(f"{cell:>22}" for cell in shown))
    return "\n".join(lines)


def main() -> int:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("bench.reading", description=__doc__, formatter_class=shape)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--repeat", type=int, default=20_000, help="runs of each round")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise IposError("programs run in the kernel only for root; run: sudo make bench-reading")
    empty, found = measure(options.rounds, options.repeat)
    if not options.json:
        print(_table(empty, found))
        return 0
    print(json.dumps({
        "rules": RULES,
        "empty_ns": empty.median,
        "heads": [
            {"bytes": one.size, "step": one.step, "ns": one.ns.median, "low": one.ns.low,
             "high": one.ns.high}
            for one in found
        ],
    }))  # fmt: skip
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except IposError as error:
        sys.exit(f"bench: {error}")
