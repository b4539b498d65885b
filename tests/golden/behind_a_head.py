# SPDX-License-Identifier: Apache-2.0
"""`sudo python -m tests.golden.behind_a_head`: what a segment behind a whole held head costs.

One byte behind a head of 14,000 bytes, in nanoseconds of tc's program, by BPF_PROG_TEST_RUN, once
with what is there, as caches are after the other tables were written; the median of 101. That
the head is not read again is held by golden rows, whose pools would be read otherwise: "the same,
and its segments come again at once" and "a byte behind a request that waits".
"""

import struct
from typing import Any, Final

from ipos.kernel.libbpf import prog_test_run
from tests.support.golden import packets as p
from tests.support.golden.kernel_machine import KernelMachine, kernel_machine
from tests.support.golden.machine import Config
from tests.support.golden.row import Row, prepare
from tests.support.golden.rows_close import local
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_migration import HELD_ROW
from tests.support.golden.rows_move import ANSWERED, FOLLOWED, WAITING, WAITS
from tests.support.golden.rows_request import ELSEWHERE

SIZE: Final = 14_000
PIECE: Final = 1024
HEAD: Final = b"GET / HTTP/1.1\r\nHost: a.b\r\nX: ".ljust(SIZE - 4, b"x") + b"\r\n\r\n"
TIMES: Final = 101


def _held(**fields: Any) -> dict[str, Any]:
    pieces = [HEAD[at : at + PIECE] for at in range(0, SIZE, PIECE)]
    row = {"held": SIZE, "parsed": SIZE, "complete": 1, "head_state": 9, "request_len": SIZE,
           "chunks": (*range(1, len(pieces) + 1), *[0] * (15 - len(pieces)))}  # fmt: skip
    pool = [(nth, {"bytes": piece.ljust(PIECE, b"\0")}) for nth, piece in enumerate(pieces)]
    return {"hold_pool": pool, "holding": [(KEY, {**fields, **row})]}


def cases() -> dict[str, tuple[Row, bytes]]:
    """A row of golden's, of which only the tables count, and the segment."""
    waits = WAITS["holding"][0][1]
    first = {**HELD_ROW, "crowded_ms": 1}
    byte = p.client("PA", b"x", seq=p.IRS + 1 + SIZE)
    later = p.client("PA", b"x", seq=waits["hs"]["irs"] + 1 + SIZE, ack=waits["hs"]["iss"] + 1)
    every = Config(decide="REQUEST")
    moving = local(**{**FOLLOWED, "answered": 0}, flags=WAITING)
    none: dict[str, Any] = {"about": "", "steps": [], "counts": {}, "sockets": (ANSWERED,)}
    return {
        "first request, all have refused it": (
            Row(**none, config=ELSEWHERE, before=_held(**first, looked=1)), byte),
        "first request, read and offered again": (
            Row(**none, config=ELSEWHERE, before=_held(**first)), byte),
        "later request, it waits for its turn": (
            Row(**none, config=every, before={**moving, **_held(**waits)}), later),
        "later request, read again": (
            Row(**none, config=every, before={**moving, **_held(**{**waits, "looked": 0})}), later),
    }  # fmt: skip


def nanoseconds(machine: KernelMachine, row: Row, frame: bytes) -> int:
    machine.reset()
    prepare(machine, row)
    context = bytearray(192)  # struct __sk_buff
    struct.pack_into("=I", context, 40, machine.ifindex("front"))
    return prog_test_run(machine.fd("ingress"), frame, bytes(context), repeat=1).duration_ns


def main() -> None:
    with kernel_machine() as machine:
        for name, (row, frame) in cases().items():
            found = sorted(nanoseconds(machine, row, frame) for _ in range(TIMES))
            print(f"{name:40} {found[TIMES // 2]:7} ns")


if __name__ == "__main__":
    main()
