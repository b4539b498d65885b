# SPDX-License-Identifier: Apache-2.0
"""The kernel's BPF from Python: the only package that uses ctypes for it.

`syscall` is bpf(2) itself, `maps` a map as a store of bytes, `objects` the loading of .bpf.o files
through libbpf, `errors` every way any of it is refused.
"""

from ipos.kernel.libbpf.errors import (
    AbiMismatch,
    AlreadyLoaded,
    AttachError,
    KernelError,
    LoadError,
    MapError,
    NotLoaded,
    PinError,
    SlotTaken,
)
from ipos.kernel.libbpf.map_store import Map, possible_cpus
from ipos.kernel.libbpf.objects import BpfObject, RingBuffer
from ipos.kernel.libbpf.syscall import MapInfo, MapType, TestRun, prog_test_run

__all__ = [
    "AbiMismatch",
    "AlreadyLoaded",
    "AttachError",
    "BpfObject",
    "KernelError",
    "LoadError",
    "Map",
    "MapError",
    "MapInfo",
    "MapType",
    "NotLoaded",
    "PinError",
    "RingBuffer",
    "SlotTaken",
    "TestRun",
    "possible_cpus",
    "prog_test_run",
]
