# SPDX-License-Identifier: Apache-2.0
"""Where the agent keeps what must outlive it, and where it looks for its cgroup.

`IPOS_RUN_DIR` replaces /run/ipos; `IPOS_CGROUP` is the cgroup whose sockets and load are this
server's, by default all of cgroup v2.
"""

import fcntl
import os
from pathlib import Path

from ipos.errors import IposError

CONFIG = Path("/etc/ipos/ipos.toml")


def run_directory() -> Path:
    return Path(os.environ.get("IPOS_RUN_DIR", "/run/ipos"))


def config_file() -> Path:
    return Path(os.environ.get("IPOS_CONFIG", CONFIG))


def ready_file() -> Path:
    """Exists while an agent serves whose data plane is attached and who knows the others."""
    return run_directory() / "ready"


def changes_file() -> Path:
    """What the agent changed on this machine's network."""
    return run_directory() / "changes.json"


def orders_file() -> Path:
    """What operators want of servers; it outlives a reboot where the run directory is the usual."""
    if "IPOS_RUN_DIR" in os.environ:
        return run_directory() / "orders.json"
    return Path("/var/lib/ipos/orders.json")


def snapshot_file() -> Path:
    """What the others advertised and no map of the data plane holds."""
    return run_directory() / "advertised.json"


def api_socket() -> Path:
    """Where the agent answers HTTP."""
    return run_directory() / "api.sock"


def write_whole(file: Path, text: str) -> None:
    """A reader sees the old file or the new one, never half of one."""
    fresh = file.with_name(f".{file.name}.new")
    fresh.write_text(text)
    os.replace(fresh, file)


def lock_agent() -> int:
    """Be the one agent here for as long as the descriptor is open. IposError when there is one."""
    fd = os.open(_lock_file(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise IposError(
            f"an agent is running on this server already (it holds {_lock_file()})"
        ) from None
    # One write of one length: whoever reads meanwhile sees the last agent's number or ours.
    os.pwrite(fd, f"{os.getpid():<10}\n".encode(), 0)
    return fd


def agent_pid() -> int | None:
    """The process that is the agent here; None when nobody is."""
    try:
        fd = os.open(_lock_file(), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.read(fd, 32) or 0) or None
    finally:
        os.close(fd)
    return None


def _lock_file() -> Path:
    return run_directory() / "agent.lock"


def own_cgroup() -> Path | None:
    """The cgroup given to this server, None when it has the whole machine."""
    given = os.environ.get("IPOS_CGROUP")
    return Path(given) if given else None


def sockops_cgroup() -> Path:
    """Where sockops programs are attached: the server's cgroup, or the root of cgroup v2."""
    return own_cgroup() or cgroup_root()


def cgroup_root(mounts: Path = Path("/proc/self/mountinfo")) -> Path:
    """The mount point of cgroup v2."""
    for line in mounts.read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.split(" ", 1)[0] == "cgroup2":
            return Path(fields.split(" ")[4])
    raise IposError(
        "cgroup v2 is not mounted, and the data plane learns from it which sockets exist: "
        "mount -t cgroup2 none /sys/fs/cgroup/unified"
    )
