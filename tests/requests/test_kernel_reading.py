# SPDX-License-Identifier: Apache-2.0
"""The kernel's own eBPF reads heads as the library does: the same `struct ipos_request`."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from bench.reading import compiled
from ipos.abi.layout import layout
from ipos.kernel.libbpf import Map, prog_test_run
from ipos.kernel.libbpf.objects import BpfObject
from native.library import Node
from tests.support import heads

_INGRESS = 1  # IPOS_PROG_INGRESS


@pytest.mark.farm
def test_ebpf_reads_what_the_library_reads(tmp_path: Path) -> None:
    rng = random.Random(1)
    shape = layout("ipos_request")
    parser = shape.field("parser").offset  # it may have read behind the head
    before, seen = os.sched_getaffinity(0), set()
    os.sched_setaffinity(0, {min(before)})
    try:
        with Node() as node, BpfObject(compiled(tmp_path)) as programs:
            programs.load()
            row = heads.prepare(node).store("sessions").get(bytes(4))
            assert row is not None
            with Map(os.dup(programs.maps["sessions"].fd)) as sessions:
                sessions.update((1).to_bytes(4, "little"), row)
            node.store("sessions").update((1).to_bytes(4, "little"), row)
            with Map(os.dup(programs.maps["scratch"].fd)) as scratch:
                for _ in range(2_000):
                    head = heads.head(rng)[: heads.CHUNK]
                    ran = prog_test_run(
                        programs.program_fd("bench_read"), bytes(12) + b"\x88\xb5" + head
                    )
                    wanted = node.read([head], 1)
                    values = scratch.get_per_cpu(_INGRESS.to_bytes(4, "little"))
                    assert values is not None
                    found = values[min(before)]
                    assert ran.retval == wanted[shape.field("progress").offset]
                    assert wanted[:parser] in found, head
                    assert wanted[parser + shape.field("parser").size :] in found, head
                    seen.add(ran.retval)
    finally:
        os.sched_setaffinity(0, before)
    assert seen == {0, 1, 2}
