# SPDX-License-Identifier: Apache-2.0
"""Finds the network namespaces at the other ends of this one's pairs of interfaces.

The kernel says which id such a namespace has in ours, and not where it is. So the places where
namespaces can be seen are asked for their ids: what is mounted in /run/netns, and the namespaces of
processes. Nothing here keeps a descriptor of one, because a namespace lives as long as any does,
and with it the pair of interfaces whose end tells that the container has gone.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ipos import netns
from ipos.agent.network.rtnetlink import RtNetlink

MOUNTS = (Path("/run/netns"), Path("/run/docker/netns"))
PROC = Path("/proc")
LEAVE_TO_ENTER = (
    "it takes CAP_SYS_ADMIN and CAP_SYS_PTRACE, and RestrictNamespaces=no in its unit: copy "
    "containers.conf, which comes with the package, to /etc/systemd/system/ipos-agent.service.d, "
    "and restart the agent"
)
"""What an agent lacks that may not enter containers."""
_SEEN_MAX = 4096
"""Processes and mounts that are looked at in one search."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a namespace can be entered. inode: its own, by which another one is told from it.

    cgroup: of the first process that is in it, "" if none was found.
    """

    path: Path
    inode: int
    cgroup: str = ""

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in it. FileNotFoundError when it is not there any more."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_ino != self.inode:
                raise FileNotFoundError(2, "another network namespace is there", str(self.path))
            with netns.entered(descriptor):
                yield
        finally:
            os.close(descriptor)


def search(wanted: Collection[int], proc: Path = PROC) -> dict[int, Seat]:
    """The seats of the namespaces that have these ids in ours."""
    found: dict[int, Seat] = {}
    asked: dict[int, int | None] = {}
    with RtNetlink() as netlink:
        for place in _places(proc):
            with suppress(OSError):  # a process that has ended, or a file that is no namespace
                inode = place.stat().st_ino
                if inode not in asked:
                    asked[inode] = _id_of(place, netlink)
                number = asked[inode]
                if number is None or number not in wanted:
                    continue
                cgroup = cgroup_of(place.parents[1])
                known = found.get(number)
                if known is None or (cgroup and not known.cgroup):
                    found[number] = Seat(known.path if known else place, inode, cgroup)
    return found


def _id_of(place: Path, netlink: RtNetlink) -> int | None:
    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return netlink.namespace_id(descriptor)
    finally:
        os.close(descriptor)


def _places(proc: Path) -> Iterator[Path]:
    """Mounts first: a process may end at any time."""
    left = _SEEN_MAX
    for directory in MOUNTS:
        with suppress(OSError):
            for name in sorted(os.listdir(directory))[:left]:
                left -= 1
                yield directory / name
    for name in os.listdir(proc):
        if name.isdigit() and left > 0:
            left -= 1
            yield proc / name / "ns" / "net"


def cgroup_of(process: Path) -> str:
    """Its path in cgroup v2; "" when it is no process, or has ended."""
    with suppress(OSError):
        for line in (process / "cgroup").read_text().splitlines():
            if line.startswith("0::"):
                return line[3:]
    return ""
