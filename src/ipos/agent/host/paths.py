# SPDX-License-Identifier: Apache-2.0
"""The files and directories of the agent, and its cgroup.

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
    """A file that exists while an agent serves, with its data plane attached and others known."""
    return run_directory() / "ready"


def serving_file() -> Path:
    """A file that exists while an agent runs and its server is to get new connections."""
    return run_directory() / "serving"


def changes_file() -> Path:
    """What the agent changed on this machine's network."""
    return run_directory() / "changes.json"


def orders_file() -> Path:
    """The file of orders. It survives a reboot if the run directory is the default."""
    if "IPOS_RUN_DIR" in os.environ:
        return run_directory() / "orders.json"
    return Path("/var/lib/ipos/orders.json")


def snapshot_file() -> Path:
    """The snapshot: what other servers said and no map of the data plane holds."""
    return run_directory() / "advertised.json"


def instances_file() -> Path:
    """What the agent must know of the applications that it has started."""
    return run_directory() / "instances.json"


def calls_file() -> Path:
    """The calls of this server's programs for spawned programs."""
    return run_directory() / "calls.json"


def instance_cgroup(farm: str, server: str, service: str) -> Path:
    """Where the command runs that starts a service's application."""
    return sockops_cgroup() / f"ipos-{farm}-{server}-{service}"


def announce_file() -> Path:
    """What routers are to be told of this server's addresses, where no other file is configured."""
    return run_directory() / "bird.conf"


def uplinks_file() -> Path:
    """The uplinks that `agent.uplink_command` was told of as out of service."""
    return run_directory() / "uplinks-out"


def api_socket() -> Path:
    """Where the agent answers HTTP."""
    return run_directory() / "api.sock"


def endpoints_socket() -> Path:
    """Where applications give and take endpoints that migrate with their state."""
    return run_directory() / "endpoints.sock"


def lock_agent() -> int:
    """Lock out other agents as long as the descriptor is open. IposError when there is one."""
    file = _lock_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise IposError(
            f"cannot make {file}: {error.strerror}; IPOS_RUN_DIR replaces its directory"
        ) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # One write of one length: whoever reads meanwhile sees the last agent's number or ours.
        os.pwrite(fd, f"{os.getpid():<10}\n".encode(), 0)
    except BlockingIOError:
        os.close(fd)
        raise IposError(f"an agent is running on this server already (it holds {file})") from None
    except OSError as error:
        os.close(fd)
        raise IposError(f"cannot write {file}: {error.strerror}") from None
    return fd


def agent_pid() -> int | None:
    """The process that is the agent here; None when there is none."""
    try:
        fd = os.open(_lock_file(), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        number = os.read(fd, 32).strip()
        return int(number) if number.isdigit() and int(number) else None
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
