# SPDX-License-Identifier: Apache-2.0
"""How busy this server is: figures of its cgroup, or of the machine if it has none."""

import os
from collections import deque
from pathlib import Path

import psutil

WINDOW = 5
"""CPU time is averaged over this many samples: half a second of them."""
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
        return os.pread(self._fd, 1 << 12, 0)


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
        self._limit = self._used = None
        if cgroup is not None and (cgroup / "memory.max").exists():  # the root has none
            self._limit = Steady(cgroup / "memory.max")
            self._used = Steady(cgroup / "memory.current")

    def available(self) -> int:
        available = 1024 * _number(self._machine.read(), b"MemAvailable:")
        if self._limit is None or self._used is None:
            return available
        try:
            limit, used = self._limit.read().strip(), int(self._used.read())
        except OSError:
            return available
        return available if limit == b"max" else max(0, min(available, int(limit) - used))


class Bandwidth:
    """Bits per second that an interface could still send."""

    def __init__(self, interface: str, proc: Path = Path("/proc/net/dev")) -> None:
        self._interface = interface
        self._counts = Steady(proc)
        stats = psutil.net_if_stats().get(interface)
        self._speed = 1_000_000 * ((stats.speed if stats is not None else 0) or _DEFAULT_MBIT)
        self._last: tuple[int, int] | None = None

    def sample(self, now_ns: int) -> int:
        """The link's speed less what was sent since the last sample."""
        sent = self._sent()
        last, self._last = self._last, (now_ns, sent)
        if last is None or now_ns <= last[0]:
            return self._speed
        used = 8 * (sent - last[1]) * 1_000_000_000 // (now_ns - last[0])
        return max(0, self._speed - used)

    def _sent(self) -> int:
        for line in self._counts.read().splitlines():
            name, colon, numbers = line.partition(b":")
            if colon and name.strip() == self._interface.encode():
                return int(numbers.split()[8])
        return 0


def _number(text: bytes, name: bytes) -> int:
    """The number after a name at the start of a line; 0 without such a line."""
    if text.startswith(name):
        return int(text[len(name) :].split(None, 1)[0])
    _, found, rest = text.partition(b"\n" + name)
    return int(rest.split(None, 1)[0]) if found else 0
