# SPDX-License-Identifier: Apache-2.0
"""How busy this server is: its cgroup's figures where it has one, else the machine's."""

import os
import re
from collections import deque
from pathlib import Path

import psutil

WINDOW = 5
"""CPU time is averaged over this many samples: half a second of them."""
_DEFAULT_MBIT = 1000


def read(path: Path | str) -> bytes:
    """A file of /proc or a cgroup, in three system calls: it is done many times a second."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)


class Cpu:
    """CPU utilisation in permille of what there is to use, over the last samples."""

    def __init__(self, cgroup: Path | None, cpus: int | None = None) -> None:
        self._cgroup = cgroup if cgroup is not None and (cgroup / "cpu.stat").exists() else None
        self._stat, self._max = f"{cgroup}/cpu.stat", f"{cgroup}/cpu.max"
        self._cpus = cpus or os.cpu_count() or 1
        self._samples: deque[tuple[int, int]] = deque(maxlen=WINDOW + 1)

    def sample(self, now_ns: int) -> int:
        """Permille since the oldest sample kept; 0 for the first one."""
        self._samples.append((now_ns, self._used_us()))
        (since_ns, before_us), (now, used_us) = self._samples[0], self._samples[-1]
        elapsed_us = (now - since_ns) / 1000
        if elapsed_us <= 0:
            return 0
        share = (used_us - before_us) / (elapsed_us * self._capacity())
        return max(0, min(1000, round(1000 * share)))

    def _used_us(self) -> int:
        if self._cgroup is None:
            times = psutil.cpu_times()
            return int(1e6 * (times.user + times.nice + times.system + times.irq + times.softirq))
        return _number(read(self._stat), b"usage_usec")

    def _capacity(self) -> float:
        """In CPUs: the cgroup's quota when it has one."""
        if self._cgroup is not None:
            try:
                quota, period = read(self._max).split()
            except OSError:
                return self._cpus
            if quota != b"max":
                return min(self._cpus, int(quota) / int(period))
        return self._cpus


def memory_available(cgroup: Path | None) -> int:
    """Bytes: what the machine has, or what the cgroup's limit leaves, whichever is less."""
    available = 1024 * _number(read("/proc/meminfo"), b"MemAvailable:")
    if cgroup is None:
        return available
    try:
        limit = read(cgroup / "memory.max").strip()
        used = int(read(cgroup / "memory.current"))
    except OSError:
        return available
    return available if limit == b"max" else max(0, min(available, int(limit) - used))


class Bandwidth:
    """Bits per second that an interface could still send."""

    def __init__(self, interface: str, proc: Path = Path("/proc/net/dev")) -> None:
        self._interface = interface
        self._proc = proc
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
        for line in read(self._proc).splitlines():
            name, colon, numbers = line.partition(b":")
            if colon and name.strip() == self._interface.encode():
                return int(numbers.split()[8])
        return 0


def _number(text: bytes, name: bytes) -> int:
    """What follows a name at the start of a line; 0 where there is none."""
    found = re.search(rb"^%b\s+(\d+)" % re.escape(name), text, re.MULTILINE)
    return 0 if found is None else int(found[1])
