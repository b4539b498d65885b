# SPDX-License-Identifier: Apache-2.0
"""Where a data plane is pinned, in bpffs.

    <bpffs>/ipos/<farm>-<server>/      or <farm>:<server>, if one of the names has a hyphen
        maps/<name>        every map, by the name it has in the objects
        progs/<name>       every program
        links/<name>       what holds a program on its hook: xdp-3, ingress-3, egress-3, sockops,
                           lookup
        built              an array of one digest: which object files the programs came from
        abi                an array of one number; made last, so its presence says "complete"

The directory is all the state there is: a process that knows its path can read, upgrade or remove
the data plane, whoever loaded it. `IPOS_PIN_DIR` replaces `/sys/fs/bpf/ipos`.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from ipos import locks
from ipos.kernel.libbpf import syscall
from ipos.kernel.libbpf.errors import NotLoaded, PinError, explain

BPFFS: Final = Path("/sys/fs/bpf")
_ATTEMPTS: Final = 10
_FORBIDDEN: Final = str.maketrans({".": "_", "/": "_"})
"""bpffs allows no dots in names."""


def pin_root() -> Path:
    """The directory that holds this host's data planes, one directory each."""
    return Path(os.environ.get("IPOS_PIN_DIR", BPFFS / "ipos"))


def directory_name(farm: str, server: str) -> str:
    """The directory name of one server's pins. No two servers share one: names have no colons."""
    between = ":" if "-" in farm + server else "-"
    return f"{farm}{between}{server}".translate(_FORBIDDEN)


def pin_directory(farm: str, server: str) -> Path:
    """Where the data plane of one server is pinned."""
    return pin_root() / directory_name(farm, server)


def _earlier_directory(farm: str, server: str) -> Path:
    """Where releases before this one pinned it: "a-b" and "c" as "a" and "b-c"."""
    return pin_root() / f"{farm}-{server}".translate(_FORBIDDEN)


START_THE_AGENT: Final = "systemctl start ipos-agent, or `ipos agent`, loads it"
"""What to do where a data plane is expected and none is loaded."""


def take_over_earlier(farm: str, server: str) -> None:
    """Give the pins of an earlier release the name that they have now. PinError if it fails."""
    earlier, now = _earlier_directory(farm, server), pin_directory(farm, server)
    if earlier == now or now.exists() or not earlier.is_dir():
        return
    try:
        earlier.rename(now)
    except OSError as error:
        raise PinError(
            f"cannot rename the pin directory {earlier} to {now}: {explain(error.errno or 0)}",
            error.errno or 0,
        ) from error


def pinned() -> list[Path]:
    """The pin directories of all complete data planes of this host."""
    root = pin_root()
    return sorted(p.parent for p in root.glob("*/abi")) if root.is_dir() else []


def find_pin_directory() -> Path:
    """The data plane that a command is about: the one there is, or the one that was named.

    `--farm` and `--server` of the command line, and `IPOS_FARM` and `IPOS_SERVER`, name one.
    NotLoaded when there is none, or no telling which.
    """
    farm, server = chosen()
    root, found = pin_root(), pinned()
    fitting = [path for path in found if _is_named(path, farm, server)]
    if not found:
        raise NotLoaded(
            f"no data plane is loaded here (nothing complete below {root}): {START_THE_AGENT}"
        )
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(f"{path.name} ({_where(path)})" for path in found)
    if not fitting:
        wanted = " ".join(filter(None, (farm and f"farm {farm}", server and f"server {server}")))
        raise NotLoaded(f"no data plane of {wanted} is loaded below {root}; there are {names}")
    raise NotLoaded(
        f"several data planes are loaded below {root}, named FARM-SERVER or FARM:SERVER: {names}; "
        "say which by --farm and --server"
    )


def chosen() -> tuple[str, str]:
    """Farm and server that the user has named, empty where nothing is said."""
    return os.environ.get("IPOS_FARM", ""), os.environ.get("IPOS_SERVER", "")


def _is_named(path: Path, farm: str, server: str) -> bool:
    if farm and server:
        return path in (pin_directory(farm, server), _earlier_directory(farm, server))
    farm, server = farm.translate(_FORBIDDEN), server.translate(_FORBIDDEN)
    between = ":" if ":" in path.name else "-"
    if farm:
        return path.name.startswith(f"{farm}{between}")
    return not server or path.name.endswith(f"{between}{server}")


def is_on_hooks(pin_dir: Path) -> bool:
    """Whether a data plane is not only loaded."""
    links = pin_dir / "links"
    return links.is_dir() and any(links.iterdir())


def _where(path: Path) -> str:
    return "on its hooks" if is_on_hooks(path) else "loaded, on no hook"


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
    with ExitStack() as stack:
        try:
            stack.enter_context(locks.locked(pin_dir))
        except OSError as error:
            raise NotLoaded(
                f"no data plane is pinned at {pin_dir}: {explain(error.errno or 0)}",
                error.errno or 0,
            ) from None
        yield


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
