# SPDX-License-Identifier: Apache-2.0
"""Where a data plane is pinned, and the bpffs it is pinned in.

    <bpffs>/ipos/<farm>-<server>/
        maps/<name>        every map, by the name it has in the objects
        progs/<name>       every program
        links/<name>       what holds a program on its hook: xdp-3, ingress-3, egress-3, sockops
        built              an array of one digest: which object files the programs came from
        abi                an array of one number; made last, so its presence says "complete"

The directory is all the state there is: a process that knows its path can read, upgrade or remove
the data plane, whoever loaded it. `IPOS_PIN_DIR` replaces `/sys/fs/bpf/ipos`.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ipos.inic.libbpf import syscall
from ipos.inic.libbpf.errors import NotLoaded, PinError, explain

BPFFS: Final = Path("/sys/fs/bpf")
_ATTEMPTS: Final = 10
_FORBIDDEN: Final = str.maketrans({".": "_", "/": "_"})


def pin_root() -> Path:
    """The directory that holds this host's data planes, one directory each."""
    return Path(os.environ.get("IPOS_PIN_DIR", BPFFS / "ipos"))


def pin_directory(farm: str, server: str) -> Path:
    """Where the data plane of one server is pinned. bpffs allows no dots in names."""
    return pin_root() / f"{farm}-{server}".translate(_FORBIDDEN)


def find_pin_directory() -> Path:
    """The one data plane of this host, for commands that are told no server's name."""
    root = pin_root()
    found = sorted(p.parent for p in root.glob("*/abi")) if root.is_dir() else []
    if not found:
        raise NotLoaded(
            f"no data plane is loaded here (nothing complete below {root}): start `ipos agent`"
        )
    if len(found) > 1:
        names = ", ".join(p.name for p in found)
        raise NotLoaded(
            f"several data planes are loaded below {root} ({names}): set IPOS_PIN_DIR to a "
            "directory that holds only the one you mean"
        )
    return found[0]


def bpffs_mounts() -> list[Path]:
    """The mount points of all bpf file systems that this process can see."""
    mounts = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.split(" ", 1)[0] == "bpf":
            mounts.append(Path(fields.split(" ")[4]))
    return mounts


def ensure_bpffs(path: Path) -> None:
    """Make sure that `path` lies in a bpf file system; mounts /sys/fs/bpf when it is absent."""
    if any(path.is_relative_to(mount) for mount in bpffs_mounts()):
        return
    if not path.is_relative_to(BPFFS):
        raise PinError(
            f"{path} is not in a bpf file system: choose a directory below {BPFFS}, or mount one "
            f"there (mount -t bpf bpf DIRECTORY)"
        )
    try:
        syscall.mount_bpffs(BPFFS)
    except OSError as error:
        raise PinError(
            f"no bpf file system is mounted at {BPFFS} and it cannot be mounted "
            f"({explain(error.errno or 0)}): as root, mount -t bpf bpf {BPFFS}",
            error.errno or 0,
        ) from None


@contextmanager
def locked(pin_dir: Path) -> Iterator[None]:
    """Hold the pin directory alone; two loaders of one data plane must not interleave."""
    try:
        fd = os.open(pin_dir, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise NotLoaded(
            f"no data plane is pinned at {pin_dir}: {explain(error.errno or 0)}", error.errno or 0
        ) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def make_directories(pin_dir: Path) -> None:
    """Create the pin directory and what it is divided into."""
    for name in ("maps", "progs", "links"):
        for attempt in range(_ATTEMPTS):
            try:
                (pin_dir / name).mkdir(parents=True, exist_ok=True)
                break
            except OSError as error:
                # Another data plane that goes may remove a shared, just then empty parent.
                if error.errno == errno.ENOENT and attempt + 1 < _ATTEMPTS:
                    continue
                raise PinError(
                    f"cannot create the pin directory {pin_dir}: {explain(error.errno or 0)}",
                    error.errno or 0,
                ) from error


def remove_directory(pin_dir: Path) -> None:
    """Remove the pin directory with every pin below it, and the parents that are empty then."""
    try:
        shutil.rmtree(pin_dir)
    except FileNotFoundError:
        return
    except OSError as error:
        raise PinError(
            f"cannot remove the pins at {pin_dir}: {explain(error.errno or 0)}", error.errno or 0
        ) from error
    mounts = bpffs_mounts()
    for parent in pin_dir.parents:
        if parent in mounts:
            return
        try:
            parent.rmdir()
        except OSError:  # another data plane is in there, or it has gone already
            return
