# SPDX-License-Identifier: Apache-2.0
"""Object files in, pinned maps and programs out: what loading, extending and upgrading share."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from ipos.kernel import hooks
from ipos.kernel.libbpf import elf, syscall
from ipos.kernel.libbpf.errors import AbiMismatch, LoadError, PinError, explain
from ipos.kernel.libbpf.map_store import Map
from ipos.kernel.libbpf.objects import BpfObject, ObjectMap

ABI_SYMBOL: Final = "ipos_abi"

SIX: Final = "6.bpf.o"
"""How the objects of IPv6 are called: the same sources, compiled a second time."""

_FAMILIES: Final = {"families_xdp": "ipos_xdp6"}
"""Arrays of one program that the programs on hooks go on in: that of IPv6 has no hook."""

FREE_LISTS: Final = {"hold_free": "hold_pool"}
"""Queues that start out holding every index of an array."""


def objects(directory: Path, *, six: bool) -> tuple[list[Path], int]:
    """The object files of a directory, and the ABI number they agree on. six: of IPv6, too."""
    found = sorted(directory.glob("*.bpf.o"))
    paths = [path for path in found if six or not path.name.endswith(SIX)]
    if not paths:
        raise LoadError(f"there is no compiled data plane in {directory}: make objects")
    numbers = {path: elf.read_u32(path.read_bytes(), ABI_SYMBOL) for path in paths}
    stated = {number for number in numbers.values() if number is not None}
    if len(stated) > 1:
        told = ", ".join(f"{p.name} {n}" for p, n in numbers.items() if n is not None)
        raise AbiMismatch(f"the objects in {directory} are of several ABIs ({told}): make objects")
    if not stated:
        raise LoadError(f"no object in {directory} defines {ABI_SYMBOL}, its ABI number")
    return paths, stated.pop()


def load_objects(
    paths: Sequence[Path], pin_dir: Path, programs: str, map_sizes: Mapping[str, int]
) -> None:
    """Load objects one after the other and pin what is new; maps of one name become one map."""
    with ExitStack() as stack:
        objects = [stack.enter_context(BpfObject(path)) for path in paths]
        known = {name for o in objects for name, m in o.maps.items() if not m.internal}
        known |= {name.removesuffix("6") for name in known}
        known |= {path.name for path in (pin_dir / "maps").iterdir()}
        unknown = sorted(set(map_sizes) - known)
        if unknown:
            raise LoadError(f"no object has a map called {', '.join(unknown)}, to be sized")
        for bpf_object in objects:
            fresh = [
                declared
                for declared in bpf_object.maps.values()
                if not declared.internal and not _share(declared, bpf_object, pin_dir, map_sizes)
            ]
            bpf_object.load()
            for declared in fresh:
                pin(declared.fd, pin_dir / "maps" / declared.name)
            for name in bpf_object.programs:
                pin(bpf_object.program_fd(name), pin_dir / programs / name)


def _share(
    declared: ObjectMap, user: BpfObject, pin_dir: Path, map_sizes: Mapping[str, int]
) -> bool:
    """Use the pinned map of this name when there is one; else size the one to be created."""
    path = pin_dir / "maps" / declared.name
    if not path.exists():
        size = map_sizes.get(declared.name, map_sizes.get(declared.name.removesuffix("6")))
        if size is not None:
            declared.max_entries = size
        return False
    with Map.open(path) as pinned:
        shape = (pinned.info.type, pinned.key_size, pinned.value_size)
        if shape != declared.shape:
            raise AbiMismatch(
                f"{user.path.name} has map {declared.name} as (type, key size, value size) "
                f"{declared.shape}, pinned at {path} is {shape}: objects of one ABI number must "
                "agree; drain this server, run `ipos detach`, and start it anew"
            )
        declared.reuse(pinned.fd)
    return True


def fill_free_lists(pin_dir: Path) -> None:
    for queue, array in FREE_LISTS.items():
        if not (pin_dir / "maps" / queue).exists():
            continue
        maps = pin_dir / "maps"
        with Map.open(maps / queue) as free, Map.open(maps / array) as pool:
            indexes = range(min(pool.max_entries, free.max_entries))
            free.push_all(b"".join(each.to_bytes(free.value_size, "little") for each in indexes))


def has_six(pin_dir: Path | str) -> bool:
    """Whether the programs of IPv6 are loaded there."""
    return all((Path(pin_dir) / "progs" / name).exists() for name in _FAMILIES.values())


def join_families(pin_dir: Path) -> None:
    """Have the programs of IPv4 go on in those of IPv6, where these are loaded."""
    for array, program in _FAMILIES.items():
        if not ((pin_dir / "progs" / program).exists() and (pin_dir / "maps" / array).exists()):
            continue
        fd = hooks.open_pin(pin_dir / "progs" / program, f"program {program}")
        try:
            with Map.open(pin_dir / "maps" / array) as table:
                syscall.map_update(table.fd, bytes(4), fd.to_bytes(4, sys.byteorder))
        except OSError as error:
            number = error.errno or 0
            raise LoadError(f"cannot go on in {program}: {explain(number)}", number) from error
        finally:
            os.close(fd)


def pin(fd: int, path: Path) -> None:
    try:
        syscall.pin(fd, path)
    except OSError as error:
        number = error.errno or 0
        raise PinError(f"cannot pin at {path}: {explain(number)}", number) from error
