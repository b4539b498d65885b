# SPDX-License-Identifier: Apache-2.0
"""The kernel's BPF from Python: the only place that uses ctypes for it.

`syscall` is bpf(2) itself, `maps` a map as a store of bytes, `objects` the loading of .bpf.o files
through libbpf, `errors` every way any of it is refused.
"""

from ipos.inic.libbpf.errors import (
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
from ipos.inic.libbpf.maps import Map, possible_cpus
from ipos.inic.libbpf.objects import BpfObject, RingBuffer
from ipos.inic.libbpf.syscall import MapInfo, MapType, TestRun, prog_test_run

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
