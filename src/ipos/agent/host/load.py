# SPDX-License-Identifier: Apache-2.0
"""How busy this server is: figures of its cgroup, or of the machine if it has none."""

import os
from collections import deque
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import psutil

WINDOW = 5
"""CPU time is averaged over this many samples: half a second of them."""
BANDWIDTH_WINDOW = 2
"""Traffic is averaged over so many times between samples: four tenths of a second."""
_DEFAULT_MBIT = 1000
_TICKS = os.sysconf("SC_CLK_TCK")
_CAPACITY_NS = 1_000_000_000
"""A quota is looked up once a second."""


def read(path: Path | str) -> bytes:
    """A file of /proc or a cgroup, in three system calls: it is done many times a second."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)


class Steady:
    """A file that is read again and again without being opened anew."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> bytes:
        return os.pread(self._fd, 1 << 16, 0)


class Cpu:
    """How busy the CPU is, in permille, over the last samples.

    Of a cgroup it is what it used of its quota (else of the machine), or the time in which one of
    its tasks had to wait for a CPU (PSI, "some"), whichever is more: one with a small share of the
    machine is busy when it gets no more.
    """

    def __init__(self, cgroup: Path | None, cpus: int | None = None) -> None:
        self._cgroup = cgroup if cgroup is not None and (cgroup / "cpu.stat").exists() else None
        where = self._cgroup
        self._stat = Steady(Path("/proc/stat") if where is None else where / "cpu.stat")
        has_pressure = where is not None and (where / "cpu.pressure").exists()
        self._pressure = Steady(where / "cpu.pressure") if where and has_pressure else None
        self._max = f"{cgroup}/cpu.max"
        self._cpus = cpus or os.cpu_count() or 1
        self._samples: deque[tuple[int, int, int]] = deque(maxlen=WINDOW + 1)
        self._share, self._looked_ns = float(self._cpus), 0

    def sample(self, now_ns: int) -> int:
        """Permille since the oldest sample kept; 0 for the first one."""
        self._samples.append((now_ns, self._used_us(), self._waited_us()))
        (since_ns, before_us, waiting_us), (now, used_us, waited_us) = (
            self._samples[0],
            self._samples[-1],
        )
        elapsed_us = (now - since_ns) / 1000
        if elapsed_us <= 0:
            return 0
        if now_ns - self._looked_ns >= _CAPACITY_NS:
            self._share, self._looked_ns = self._capacity(), now_ns
        share = max((used_us - before_us) / self._share, waited_us - waiting_us) / elapsed_us
        return max(0, min(1000, round(1000 * share)))

    def _used_us(self) -> int:
        if self._cgroup is not None:
            return _number(self._stat.read(), b"usage_usec")
        fields = self._stat.read().split(None, 8)
        user, nice, system, _, _, irq, softirq = map(int, fields[1:8])
        return (user + nice + system + irq + softirq) * 1_000_000 // _TICKS

    def _waited_us(self) -> int:
        if self._pressure is None:
            return 0
        return int(self._pressure.read().split(b"\n", 1)[0].rpartition(b"total=")[2])

    def _capacity(self) -> float:
        """The CPUs that may be used: the cgroup's quota when it has one."""
        if self._cgroup is not None:
            try:
                quota, period = read(self._max).split()
            except OSError:
                return self._cpus
            if quota != b"max":
                return min(self._cpus, int(quota) / int(period))
        return self._cpus


class Memory:
    """Bytes available: what the machine has, or what the cgroup's limit leaves, if that is less."""

    def __init__(self, cgroup: Path | None) -> None:
        self._machine = Steady(Path("/proc/meminfo"))
        limited = cgroup is not None and (cgroup / "memory.max").exists()  # the root has none
        self._cgroup = cgroup if limited else None

    def available(self) -> int:
        available = 1024 * _number(self._machine.read(), b"MemAvailable:")
        left = None if self._cgroup is None else _left_by(self._cgroup, V2)
        return available if left is None else min(available, left)


class Accounts(NamedTuple):
    """The files of a cgroup that say how much memory it may use and uses, and, as the beginnings
    of lines of `memory.stat`, how much of that are files, which go when memory is short."""

    limit: str
    used: str
    files: tuple[bytes, ...]


V2 = Accounts("memory.max", "memory.current", (b"inactive_file ", b"active_file "))
V1 = Accounts(
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    (b"total_inactive_file ", b"total_active_file "),
)
_UNLIMITED = 1 << 62
"""Version 1 says no limit by a number near 2^63."""


def memory_left(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Bytes that the limits of its cgroups leave a process, the least of them; None for no limit.

    In cgroup v2 or, where the memory controller is there, v1.
    """
    try:
        named = read(proc / str(pid) / "cgroup").decode(errors="replace").splitlines()
    except OSError:
        return None
    roots = _memory_roots(proc / "self/mountinfo")
    least: int | None = None
    for line in named:
        _, controllers, path = line.split(":", 2)
        accounts = V1 if "memory" in controllers.split(",") else V2
        if (controllers and accounts is V2) or accounts not in roots:
            continue
        root = roots[accounts]
        group = root / path.lstrip("/")
        for each in (group, *group.parents):
            if each == root:
                break
            left = _left_by(each, accounts)
            if left is not None and (least is None or left < least):
                least = left
    return least


def _left_by(group: Path, accounts: Accounts) -> int | None:
    """What one cgroup's limit leaves; None where it has none, or cannot be read."""
    try:
        limit = read(group / accounts.limit).strip()
        if limit == b"max" or int(limit) > _UNLIMITED:
            return None
        left = int(limit) - int(read(group / accounts.used))
    except OSError:
        return None
    with suppress(OSError):
        told = read(group / "memory.stat")
        left += sum(_number(told, name) for name in accounts.files)
    return max(0, left)


@cache
def _memory_roots(mounts: Path) -> dict[Accounts, Path]:
    """Where cgroup v2 is mounted, and the memory controller of v1."""
    found: dict[Accounts, Path] = {}
    for line in mounts.read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        place = Path(fields.split(" ")[4])
        if kind == "cgroup2":
            found.setdefault(V2, place)
        elif kind == "cgroup" and "memory" in options.split(","):
            found.setdefault(V1, place)
    return found


class Bandwidth:
    """What an interface could still send and receive, averaged over the last samples.

    Its speed is what the link has or what is configured, the less of the two.
    """

    def __init__(self, interface: str, proc: Path = Path("/proc/net/dev")) -> None:
        self._name = f"{interface}:".encode()
        self._counts = Steady(proc)
        stats = psutil.net_if_stats().get(interface)
        self._speed = 1_000_000 * (stats.speed if stats is not None else 0)
        self._samples: deque[tuple[int, int, int]] = deque(maxlen=BANDWIDTH_WINDOW + 1)

    def sample(self, now_ns: int, limit: int = 0) -> tuple[int, int]:
        """Bits per second that are left in the direction that is fuller, and percent used of it.

        limit: in bits per second, 0 for none. Where neither says how fast the link is, what is left
        is of 1 Gbit/s, and nothing counts as used.
        """
        known = min(filter(None, (self._speed, limit)), default=0)
        speed = known or 1_000_000 * _DEFAULT_MBIT
        self._samples.append((now_ns, *self._bytes()))
        since, now = self._samples[0], self._samples[-1]
        elapsed_ns = now[0] - since[0]
        if elapsed_ns <= 0:
            return speed, 0
        most = max(now[1] - since[1], now[2] - since[2], 0)
        used = 8 * most * 1_000_000_000 // elapsed_ns
        return max(0, speed - used), min(100, 100 * used // known) if known else 0

    def _bytes(self) -> tuple[int, int]:
        """Received and sent."""
        for line in self._counts.read().splitlines():
            name, _, numbers = line.strip().partition(b" ")
            if name == self._name:
                counts = numbers.split()
                return int(counts[0]), int(counts[8])
        return 0, 0


def _number(text: bytes, name: bytes) -> int:
    """The number after a name at the start of a line; 0 without such a line."""
    if text.startswith(name):
        return int(text[len(name) :].split(None, 1)[0])
    _, found, rest = text.partition(b"\n" + name)
    return int(rest.split(None, 1)[0]) if found else 0
