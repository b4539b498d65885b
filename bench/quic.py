# SPDX-License-Identifier: Apache-2.0
"""What a datagram of QUIC costs the program that steers it: `python -m bench.quic`.

Each line is the median of a few runs of a thousand datagrams in the kernel, which change no table:
the ClientHello that is read has a wrong first byte, so it is never held and its flow gets no row.
"""

from __future__ import annotations

import statistics
import struct
from collections.abc import Iterable

from ipos.kernel.libbpf import prog_test_run
from tests.support import quic_packets as q
from tests.support.golden import flows as f
from tests.support.golden import packets as p
from tests.support.golden.flows import Flows
from tests.support.golden.kernel_machine import KernelMachine, kernel_machine
from tests.support.golden.machine import Config, configure
from tests.support.golden.rows_quic import CONFIG

RUNS, DATAGRAMS = 15, 1000
_ID = bytes(8)
PACKETS = {
    "UDP of a service without QUIC": f.datagram(b"x" * 1200),
    "1-RTT, its number is not known": f.datagram(q.short(b"\x99\x77\x77rest.", b"x" * 1190)),
    "Initial, 300 bytes of CRYPTO": f.datagram(q.initial(_ID, q.crypto(0, b"\2" + bytes(299)))),
    "Initial, 1,100 bytes of CRYPTO": f.datagram(q.initial(_ID, q.crypto(0, b"\2" + bytes(1099)))),
}


def measured(machine: KernelMachine, packet: bytes, config: Config) -> float:
    """Nanoseconds for one."""
    context = bytearray(192)
    struct.pack_into("=I", context, 40, machine.ifindex("front"))
    frame = p.from_router(packet)
    found = []
    for _ in range(RUNS):
        machine.reset()
        configure(machine, config)
        reads = machine.table("quic_reads")
        for slot in [slot for slot, row in reads.items() if row["wrong"]]:
            reads[slot] = {}
        ran = prog_test_run(machine.fd("quic"), frame, bytes(context), repeat=DATAGRAMS)
        found.append(ran.duration_ns)
    return statistics.median(found)


def lines() -> Iterable[str]:
    with kernel_machine() as machine:
        for about, packet in PACKETS.items():
            config = Config(flows=Flows()) if about.startswith("UDP") else CONFIG
            yield f"{about:35} {measured(machine, packet, config):8.0f} ns"


if __name__ == "__main__":
    for line in lines():
        print(line)
