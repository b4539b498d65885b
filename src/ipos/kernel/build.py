# SPDX-License-Identifier: Apache-2.0
"""Which build the loaded programs come from: a digest of their object files, pinned beside them.

The kernel's own hash of a program is known only after loading it, which takes a second. So a
program that finds a data plane compares this digest with the files of its package.
"""

import functools
import hashlib
import os
from pathlib import Path

from ipos.kernel.libbpf import syscall
from ipos.kernel.libbpf.errors import PinError, explain
from ipos.kernel.libbpf.map_store import Map
from ipos.kernel.libbpf.syscall import MapType

NAME = "built"
_SIZE = 32


@functools.cache
def digest(objects_dir: Path) -> bytes:
    """Of all object files of a directory, which do not change while we run."""
    found = hashlib.sha256()
    for path in sorted(objects_dir.glob("*.bpf.o")):
        found.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return found.digest()


def remember(pin_dir: Path, value: bytes) -> None:
    """Say what is loaded now. PinError when the kernel refuses."""
    path = pin_dir / NAME
    if path.exists():
        with Map.open(path) as known:
            known.update(bytes(4), value)
        return
    try:
        fd = syscall.map_create(MapType.ARRAY, 4, _SIZE, 1, "ipos_built")
        try:
            syscall.map_update(fd, bytes(4), value)
            syscall.pin(fd, path)
        finally:
            os.close(fd)
    except OSError as error:
        number = error.errno or 0
        raise PinError(f"cannot pin at {path}: {explain(number)}", number) from error


def compare(pin_dir: Path, objects_dir: Path) -> str:
    """Whether the loaded programs are of these files: "current", "other", "unknown"."""
    path = pin_dir / NAME
    if not path.exists():
        return "unknown"
    with Map.open(path) as known:
        return "current" if known.get(bytes(4)) == digest(objects_dir) else "other"
