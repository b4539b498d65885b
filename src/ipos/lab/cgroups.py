# SPDX-License-Identifier: Apache-2.0
"""The cgroup of each node and of each of its applications, which says which processes belong to a
lab.

A process is ended only because it is in a cgroup of the lab: no list of process ids can go stale,
daemons that fork stay known, and a reused process id is never hit.

    <cgroup2>/ipos/<lab>/<node>         what `lab exec` runs
    <cgroup2>/ipos/<lab>/<node>/app     the applications
    <cgroup2>/ipos/<lab>/<node>/agent   the agent

Controllers are not switched on: cgroup2 counts CPU time without any (`cpu.stat`), and processes
may then live in inner cgroups too.
"""

import os
import select
import signal
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from ipos.lab.errors import LabError


@cache
def mount_point() -> Path:
    """Where cgroup2 is mounted, from /proc/mounts. LabError if it is not."""
    for line in Path("/proc/mounts").read_text().splitlines():
        fields = line.split()
        if fields[2] == "cgroup2":
            return Path(fields[1])
    raise LabError(
        "cgroup2 is not mounted, so a lab's processes cannot be told apart; "
        "run: mount -t cgroup2 none /sys/fs/cgroup"
    )


def path_of(lab: str, node: str = "") -> Path:
    """The cgroup of a lab, or of one of its nodes."""
    return mount_point() / "ipos" / lab / node


def _tree(path: Path) -> list[Path]:
    """The cgroup and all below it, children first."""
    return [Path(top) for top, _, _ in os.walk(path, topdown=False)]


def processes(path: Path) -> list[int]:
    """Process ids in the cgroup and below; empty if there is no such cgroup."""
    found: list[int] = []
    for group in _tree(path):
        try:
            found += [int(line) for line in (group / "cgroup.procs").read_text().split()]
        except (FileNotFoundError, OSError):
            continue  # removed meanwhile
    return found


def populated(path: Path) -> bool:
    """Whether any live process is in the cgroup or below. Zombies do not count."""
    try:
        return "populated 1" in (path / "cgroup.events").read_text()
    except OSError:
        return False


def wait_empty(path: Path, timeout_s: float) -> bool:
    """Wait until no live process is left; False if some still are when the time is over."""
    deadline = time.monotonic() + timeout_s
    try:
        events = os.open(path / "cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        poller = select.poll()
        poller.register(events, select.POLLPRI)
        while b"populated 1" in os.pread(events, 200, 0):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            poller.poll(left * 1000)
    finally:
        os.close(events)
    return True


def end(path: Path, patience_s: float = 2.0) -> None:
    """TERM, then KILL what is still there. LabError if even that leaves a process.

    A process whose parent is in the cgroup too is first left to that parent: a daemon that finds
    its workers dying starts new ones. Each process is asked once.
    """
    if not path.exists():
        return
    thaw(path)
    deadline = time.monotonic() + patience_s
    told: set[int] = set()
    while time.monotonic() < deadline:
        members = set(processes(path))
        for pid in members - told:
            if _parent(pid) not in members:
                _send(path, pid, signal.SIGTERM)
                told.add(pid)
        if wait_empty(path, 0.1):
            return
    (path / "cgroup.kill").write_text("1")
    if not wait_empty(path, 5.0):
        raise LabError(
            f"processes {processes(path)} in {path} survive SIGKILL: stuck in the kernel"
        )


def _parent(pid: int) -> int:
    """Process id of the parent; 0 if the process is gone."""
    try:
        # The command's name before it may hold anything, parentheses and spaces too.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _send(path: Path, pid: int, number: signal.Signals) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # The id may have been given to another process since it was read: look again, now that the
        # descriptor names one process for good.
        if pid in processes(path):
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def kill(path: Path) -> None:
    """KILL everything in the cgroup at one instant, as a crash would, and wait for the end."""
    (path / "cgroup.kill").write_text("1")
    wait_empty(path, 5.0)


def freeze(path: Path) -> None:
    """Stop every process of the cgroup without ending it: it holds its sockets and says nothing."""
    (path / "cgroup.freeze").write_text("1")


def thaw(path: Path) -> None:
    """Let a frozen cgroup, and those below it, go on."""
    for group in _tree(path):
        (group / "cgroup.freeze").write_text("0")


def share(path: Path, weight: int) -> None:
    """Give the cgroup this weight (100 is the usual) among its neighbours when CPUs are short.

    Where the cpu controller is still cgroup v1's, its processes of this moment, and whatever they
    start, go into a cgroup of the same name there; `remove` takes it away.
    """
    twin = _twin(path, "cpu")
    if twin is None:
        _switch_on(path, "cpu")
        (path / "cpu.weight").write_text(str(weight))
        return
    (twin / "cpu.shares").write_text(str(1024 * weight // 100))
    _gather(path, twin)


def leave_memory(path: Path, left: int | None) -> None:
    """Let the processes of the cgroup have this many bytes more than they use now; None: any.

    Where the memory controller is still cgroup v1's, they are moved as by `share`. What they have
    had until then is not counted there.
    """
    twin = _twin(path, "memory")
    limit, used, unlimited = "memory.max", "memory.current", "max"
    files = ("inactive_file", "active_file")
    if twin is None:
        _switch_on(path, "memory")
    else:
        limit, used, unlimited = "memory.limit_in_bytes", "memory.usage_in_bytes", "-1"
        files = ("total_inactive_file", "total_active_file")
        _gather(path, twin)
    group = twin or path
    told = unlimited
    if left is not None:
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        kept = int((group / used).read_text()) - sum(int(counts[name]) for name in files)
        told = str(kept + left)
    (group / limit).write_text(told)


def _switch_on(path: Path, controller: str) -> None:
    for group in reversed((path.parent, *path.parent.parents)):
        if mount_point() in (group, *group.parents):
            (group / "cgroup.subtree_control").write_text(f"+{controller}")


def _twin(path: Path, controller: str) -> Path | None:
    """The cgroup of the same name where the controller is cgroup v1's; None where it is v2's."""
    old = _old_mounts().get(controller)
    if old is None:
        return None
    twin = old / path.relative_to(mount_point())
    twin.mkdir(parents=True, exist_ok=True)
    return twin


def _gather(path: Path, twin: Path) -> None:
    for pid in processes(path):
        with suppress(ProcessLookupError):
            (twin / "cgroup.procs").write_text(str(pid))


@cache
def _old_mounts() -> dict[str, Path]:
    """Where cgroup v1's controllers are mounted, of those that are used here."""
    found: dict[str, Path] = {}
    for line in Path("/proc/mounts").read_text().splitlines():
        fields = line.split()
        for controller in ("cpu", "memory"):
            if fields[2] == "cgroup" and controller in fields[3].split(","):
                found[controller] = Path(fields[1])
    return found


def remove(path: Path) -> None:
    """Remove the cgroup and all below it. They must be empty."""
    olds = [old / path.relative_to(mount_point()) for old in _old_mounts().values()]
    twins = [group for old in olds for group in _tree(old)]
    for group in (*_tree(path), *twins):
        for _ in range(100):
            try:
                group.rmdir()
                break
            except FileNotFoundError:
                break
            except OSError:
                # Zombies keep a cgroup busy until their parent has waited for them, and no event
                # tells of that.
                time.sleep(0.02)
    for old in olds:
        with suppress(OSError):  # another lab is in there, or nobody ever was
            old.parent.rmdir()
