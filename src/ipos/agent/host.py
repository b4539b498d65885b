# SPDX-License-Identifier: Apache-2.0
"""How busy this server is: its cgroup's figures where it has one, else the machine's."""

import os
from collections import deque
from pathlib import Path

import psutil

WINDOW = 5
"""CPU time is averaged over this many samples: half a second of them."""
_DEFAULT_MBIT = 1000


class Cpu:
    """CPU utilisation in permille of what there is to use, over the last samples."""

    def __init__(self, cgroup: Path | None, cpus: int | None = None) -> None:
        self._cgroup = cgroup if cgroup is not None and (cgroup / "cpu.stat").exists() else None
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
        for line in (self._cgroup / "cpu.stat").read_text().splitlines():
            name, value = line.split()
            if name == "usage_usec":
                return int(value)
        return 0

    def _capacity(self) -> float:
        """In CPUs: the cgroup's quota when it has one."""
        if self._cgroup is not None:
            try:
                quota, period = (self._cgroup / "cpu.max").read_text().split()
            except OSError:
                return self._cpus
            if quota != "max":
                return min(self._cpus, int(quota) / int(period))
        return self._cpus


def memory_available(cgroup: Path | None) -> int:
    """Bytes: what the machine has, or what the cgroup's limit leaves, whichever is less."""
    available = int(psutil.virtual_memory().available)
    if cgroup is None:
        return available
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
    except OSError:
        return available
    return available if limit == "max" else max(0, min(available, int(limit) - used))


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
        for line in self._proc.read_text().splitlines():
            name, colon, numbers = line.partition(":")
            if colon and name.strip() == self._interface:
                return int(numbers.split()[8])
        return 0
