# SPDX-License-Identifier: Apache-2.0
"""Loads, attaches, upgrades and detaches the data plane.

Everything is found by the pin directory (see `ipos.kernel.pins`), and nothing is kept in this
process: a data plane outlives the process that loaded it, and the next process continues from the
pins.

    load      objects -> pinned maps and programs, nothing on any hook yet
    attach    pinned programs -> hooks, and no hook that is not asked for; repeatable
    extend    the programs of IPv6 beside those of IPv4, where a farm has an address of it
    upgrade   other programs of the same ABI under the links there are, connections untouched
    detach    everything off its hook and unpinned; leaves nothing behind

Maps are shared by name: the first object that has one creates it, the others use it. An object
states its ABI as `const volatile __u32 ipos_abi`; programs and maps of one number work in any mix.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ipos
from ipos.kernel import build, hooks, loading
from ipos.kernel.attachments import default_plan
from ipos.kernel.hooks import Attachment, Hook, Link
from ipos.kernel.libbpf import syscall
from ipos.kernel.libbpf.errors import (
    AbiMismatch,
    AlreadyLoaded,
    AttachError,
    LoadError,
    NotLoaded,
)
from ipos.kernel.libbpf.map_store import Map
from ipos.kernel.libbpf.syscall import MapType
from ipos.kernel.loading import has_six
from ipos.kernel.pins import (
    START_THE_AGENT,
    ensure_bpffs,
    locked,
    make_directories,
    pinned,
    remove_directory,
)


@dataclass(frozen=True, slots=True)
class Program:
    """A loaded program. `tag` is the kernel's hash of its instructions."""

    name: str
    id: int
    tag: str


@dataclass(frozen=True, slots=True)
class Plane:
    """What is pinned, read from the kernel at one moment."""

    pin_dir: Path
    abi: int
    maps: tuple[str, ...]
    programs: tuple[Program, ...]
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What an upgrade did, by program name."""

    replaced: tuple[str, ...]
    unchanged: tuple[str, ...]


def objects_directory() -> Path:
    """Where this package's compiled objects are."""
    return Path(ipos.__file__).parent / "objects"


def expect_free(pin_dir: Path | str, interfaces: Sequence[int]) -> None:
    """Before a data plane is loaded. SlotTaken: another one, or somebody else, is in its place."""
    hooks.expect_free(Path(pin_dir), pinned(), interfaces)


def load(
    objects_dir: Path | str,
    pin_dir: Path | str,
    map_sizes: Mapping[str, int] | None = None,
    *,
    six: bool = False,
) -> Plane:
    """Load every .bpf.o of a directory and pin its maps and programs. Attaches nothing.

    `map_sizes` gives maps by name another number of entries than their object says. All of it or
    none: when anything is refused, nothing stays pinned. six: those of IPv6, too.
    """
    objects_dir, pin_dir = Path(objects_dir), Path(pin_dir)
    paths, abi = loading.objects(objects_dir, six=six)
    ensure_bpffs(pin_dir)
    if (pin_dir / "abi").exists():
        raise AlreadyLoaded(f"a data plane is loaded at {pin_dir}: upgrade it, or detach it first")
    if pin_dir.exists():  # of a loader that died before it was done
        detach(pin_dir)
    make_directories(pin_dir)
    with locked(pin_dir):
        try:
            loading.load_objects(paths, pin_dir, "progs", dict(map_sizes or {}))
            loading.fill_free_lists(pin_dir)
            loading.join_families(pin_dir)
            build.remember(pin_dir, build.digest(objects_dir))
            _pin_abi(pin_dir, abi)
        except BaseException:
            remove_directory(pin_dir)
            raise
    return adopt(pin_dir)


def extend(
    objects_dir: Path | str, pin_dir: Path | str, map_sizes: Mapping[str, int] | None = None
) -> None:
    """Load the programs of IPv6 beside those of IPv4, which go on. Repeatable; attaches nothing.

    Another ABI is refused. What is refused later leaves maps that the next call uses.
    """
    objects_dir, pin_dir = Path(objects_dir), Path(pin_dir)
    if has_six(pin_dir):
        return
    paths, abi = loading.objects(objects_dir, six=True)
    expect(pin_dir, abi)
    with locked(pin_dir), _fresh_programs(pin_dir):
        sixes = [path for path in paths if path.name.endswith(loading.SIX)]
        if not sixes:
            raise LoadError(f"there are no programs of IPv6 in {objects_dir}: make objects")
        loading.load_objects(sixes, pin_dir, "progs-new", dict(map_sizes or {}))
        for path in sorted((pin_dir / "progs-new").iterdir()):
            path.rename(pin_dir / "progs" / path.name)
        loading.join_families(pin_dir)


def is_loaded(pin_dir: Path | str) -> bool:
    """Whether a complete data plane is pinned there."""
    return (Path(pin_dir) / "abi").exists()


def expect(pin_dir: Path | str, abi: int) -> None:
    """AbiMismatch when what is loaded has another ABI than the caller goes by.

    Whoever writes its maps then would ruin them, and whoever reads them would misread.
    """
    found = _read_abi(Path(pin_dir))
    if found != abi:
        raise AbiMismatch(
            f"the data plane at {pin_dir} has ABI {found} and goes on serving, but this ipos is "
            f"for ABI {abi}: with the one that loaded it, drain this server and stop its agent; "
            "then run `ipos detach`, and start this one"
        )


def adopt(pin_dir: Path | str) -> Plane:
    """Read what is pinned, without changing any of it."""
    pin_dir = Path(pin_dir)
    abi = _read_abi(pin_dir)
    return Plane(
        pin_dir,
        abi,
        tuple(sorted(path.name for path in (pin_dir / "maps").iterdir())),
        tuple(_program(path) for path in sorted((pin_dir / "progs").iterdir())),
        tuple(hooks.read_link(path) for path in sorted((pin_dir / "links").iterdir())),
    )


def attach(pin_dir: Path | str, plan: Sequence[Attachment]) -> tuple[Link, ...]:
    """Make the plan's attachments, and no others, the truth. What is there already stays.

    XDP goes on in native mode. An interface with somebody else's XDP program is refused
    (`SlotTaken`). When one attachment is refused, those made before it in this call are taken
    back.
    """
    pin_dir = Path(pin_dir)
    _read_abi(pin_dir)
    with locked(pin_dir):
        return hooks.converge(pin_dir, plan)


def upgrade(objects_dir: Path | str, pin_dir: Path | str) -> Upgrade:
    """Put the objects' programs in the place of the pinned ones, link by link.

    Maps stay, with their size and what they hold. Another ABI is refused before anything is
    loaded; programs that have not changed are left alone.
    """
    objects_dir, pin_dir = Path(objects_dir), Path(pin_dir)
    paths, abi = loading.objects(objects_dir, six=has_six(pin_dir))
    pinned = _read_abi(pin_dir)
    if abi != pinned:
        raise AbiMismatch(
            f"the data plane at {pin_dir} has ABI {pinned}, the programs in {objects_dir} have "
            f"ABI {abi}: drain this server, run `ipos detach`, and start it anew"
        )
    with locked(pin_dir), _fresh_programs(pin_dir):
        loading.load_objects(paths, pin_dir, "progs-new", {})
        result = _compare(pin_dir)
        if result.replaced:
            hooks.replace(pin_dir, pin_dir / "progs-new", result.replaced)
            for name in result.replaced:
                (pin_dir / "progs-new" / name).rename(pin_dir / "progs" / name)
        loading.join_families(pin_dir)
        build.remember(pin_dir, build.digest(objects_dir))
    return result


@contextmanager
def _fresh_programs(pin_dir: Path) -> Iterator[None]:
    """A directory `progs-new` of pins, which is gone afterwards."""
    _remove(pin_dir / "progs-new")  # of an upgrade that died
    (pin_dir / "progs-new").mkdir()
    try:
        yield
    finally:
        _remove(pin_dir / "progs-new")


def detach(pin_dir: Path | str) -> bool:
    """Take everything off its hook and unpin it; False when there was nothing."""
    pin_dir = Path(pin_dir)
    if not pin_dir.exists():
        return False
    with locked(pin_dir):
        links = pin_dir / "links"
        names = sorted(links.iterdir(), reverse=True) if links.exists() else []
        for path in names:  # xdp first: nothing new comes in while the rest goes
            hooks.remove_link(path)
        remove_directory(pin_dir)
    return True


def open_map(pin_dir: Path | str, name: str) -> Map:
    """A pinned map by name; needs nothing but the pin."""
    return Map.open(Path(pin_dir) / "maps" / name)


def program_fd(pin_dir: Path | str, name: str) -> int:
    """A descriptor of a pinned program, for BPF_PROG_TEST_RUN; the caller closes it."""
    return hooks.open_pin(Path(pin_dir) / "progs" / name, f"program {name}")


def _pin_abi(pin_dir: Path, abi: int) -> None:
    fd = syscall.map_create(MapType.ARRAY, 4, 4, 1, "ipos_abi")
    try:
        syscall.map_update(fd, bytes(4), abi.to_bytes(4, "little"))
        loading.pin(fd, pin_dir / "abi")
    finally:
        os.close(fd)


def _read_abi(pin_dir: Path) -> int:
    if not (pin_dir / "abi").exists():
        raise NotLoaded(f"no data plane is loaded at {pin_dir}: {START_THE_AGENT}")
    with Map.open(pin_dir / "abi") as number:
        return int.from_bytes(number.get(bytes(4)) or b"", "little")


def _program(path: Path) -> Program:
    fd = hooks.open_pin(path, f"program {path.name}")
    try:
        info = syscall.program_info(fd)
    finally:
        os.close(fd)
    return Program(path.name, info.id, info.tag)


def _fingerprint(path: Path) -> tuple[str, ...]:
    """A program's tag and its constants, which the tag does not cover."""
    fd = hooks.open_pin(path, f"program {path.name}")
    try:
        parts = [syscall.program_info(fd).tag]
        for number in syscall.program_map_ids(fd):
            with Map(syscall.map_fd_by_id(number)) as used:
                if used.info.name.endswith(".rodata"):
                    parts.append((used.get(bytes(used.key_size)) or b"").hex())
    finally:
        os.close(fd)
    return tuple(parts)


def _compare(pin_dir: Path) -> Upgrade:
    replaced: list[str] = []
    unchanged: list[str] = []
    for new in sorted((pin_dir / "progs-new").iterdir()):
        old = pin_dir / "progs" / new.name
        same = old.exists() and _fingerprint(old) == _fingerprint(new)
        (unchanged if same else replaced).append(new.name)
    return Upgrade(tuple(replaced), tuple(unchanged))


def _remove(directory: Path) -> None:
    if directory.exists():
        shutil.rmtree(directory)


__all__ = [
    "AttachError",
    "Attachment",
    "Hook",
    "Link",
    "Plane",
    "Program",
    "Upgrade",
    "adopt",
    "attach",
    "default_plan",
    "detach",
    "expect",
    "expect_free",
    "extend",
    "has_six",
    "is_loaded",
    "load",
    "objects_directory",
    "open_map",
    "program_fd",
    "upgrade",
]
