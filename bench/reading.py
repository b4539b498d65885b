# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.reading`: what it costs the data plane to read a request head.

The reader runs in the kernel by BPF_PROG_TEST_RUN on heads of several sizes, with a session cookie
in the last header; the time of a program that only fetches the same bytes is taken off. Root,
clang and a quiet machine: the smallest of the rounds is told, which is the one least disturbed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from ipos.errors import IposError
from ipos.inic.kernel import objects_directory
from ipos.inic.layout import constant, layout
from ipos.inic.libbpf import Map, prog_test_run
from ipos.inic.libbpf.objects import BpfObject

SIZES = (64, 100, 200, 400, 800, 1000)  # bytes; a piece has 1024
_NAME = b"IPOS"
_COOKIE = b"Cookie: theme=dark; " + _NAME + b"=s2.0123456789abcdef\r\n\r\n"
_LINES = (
    b"GET /shop/cart/items?id=7&sort=price HTTP/1.1\r\n",
    b"Host: www.shop.example\r\n",
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n",
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n",
    b"Accept-Language: en-US,en;q=0.5\r\n",
    b"Accept-Encoding: gzip, deflate, br\r\n",
    b"Connection: keep-alive\r\n",
)


def head(size: int) -> bytes:
    """A head of so many bytes, at least 64: as many usual headers as fit, and one that fills."""
    if size < 100:
        return (b"GET / HTTP/1.1\r\nHost: a.example\r\nX: ").ljust(size - 4, b"x") + b"\r\n\r\n"
    first = b"GET / HTTP/1.1\r\nHost: a\r\n" if size < 200 else b"".join(_LINES[:2])
    lines = [first]
    for line in _LINES[2:]:
        if len(b"".join(lines)) + len(line) + len(_COOKIE) + 5 <= size:
            lines.append(line)
    room = size - len(b"".join(lines)) - len(_COOKIE) - 5
    return b"".join(lines) + b"X: " + b"x" * room + b"\r\n" + _COOKIE


def compiled(directory: Path) -> Path:
    """The programs to be timed, with the data plane's own reader in them."""
    made = directory / "reading.bpf.o"
    sources = objects_directory()
    command = ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", f"-I{sources}",
               f"-I/usr/include/{os.uname().machine}-linux-gnu", "-Wno-unused-function",
               "-c", str(Path(__file__).with_suffix(".bpf.c")), "-o", str(made)]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        subprocess.run(["llvm-strip", "-g", str(made)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", None) or error
        raise IposError(f"the programs to be timed cannot be compiled: {told}") from None
    return made


def measure(rounds: int, repeat: int) -> dict[int, tuple[int, int]]:
    """Nanoseconds of (reading, fetching alone) by bytes of the head: the least of the rounds."""
    found: dict[int, tuple[int, int]] = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with BpfObject(compiled(directory)) as programs:
            programs.load()
            with Map(os.dup(programs.maps["sessions"].fd)) as sessions:
                row = layout("ipos_session").pack(
                    {"kind": 1, "name_len": len(_NAME),
                     "name": _NAME.ljust(constant("IPOS_COOKIE_NAME_MAX"), b"\0")}
                )  # fmt: skip
                sessions.update((1).to_bytes(4, "little"), row)
            for size in SIZES:
                found[size] = (
                    _least(programs.program_fd("bench_read"), head(size), rounds, repeat),
                    _least(programs.program_fd("bench_floor"), head(size), rounds, repeat),
                )
    return found


def _least(fd: int, data: bytes, rounds: int, repeat: int) -> int:
    frame = bytes(12) + b"\x88\xb5" + data
    runs = [prog_test_run(fd, frame, repeat=repeat) for _ in range(rounds)]
    if any(run.retval != constant("IPOS_READ_DONE") for run in runs):
        raise IposError(f"a head of {len(data)} bytes was not read to its end")
    return min(run.duration_ns for run in runs)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.reading", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=20_000, help="runs of each round")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise IposError("programs run in the kernel only for root; run: sudo make bench-reading")
    found = measure(options.rounds, options.repeat)
    if options.json:
        print(json.dumps({size: {"read_ns": read, "floor_ns": floor}
                          for size, (read, floor) in found.items()}))  # fmt: skip
        return 0
    for size, (read, floor) in found.items():
        net = read - floor
        print(f"{size:5} bytes: {net:5} ns, {net / size:.2f} ns per byte (floor {floor} ns)")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except IposError as error:
        sys.exit(f"bench: {error}")
