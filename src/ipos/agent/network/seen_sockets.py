# SPDX-License-Identifier: Apache-2.0
"""Which sockets the data plane's sockops program sees to exist: those of its cgroup.

A socket belongs to the cgroup that its process was in when it made the socket, wherever the process
is now. sock_diag tells the id of that cgroup, which is the number of its directory.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = 1
"""The id of the root of cgroup v2, which all others are below."""
_KNOWN_MAX = 4096


class SeenSockets:
    """`cgroup` is the one that the program is attached to; None: all sockets are seen.

    No cgroup of version 2 ever gets another parent, and no id is used twice, so an answer holds. It
    may be asked in any thread.
    """

    def __init__(self, cgroup: Path | None = None) -> None:
        self._cgroup = cgroup
        self._known: dict[int, bool] = {}
        with suppress(OSError):  # else nothing can be attached there, which is said elsewhere
            if cgroup is not None and cgroup.stat().st_ino == ROOT:
                self._cgroup = None

    def has(self, group: int) -> bool:
        """Whether the sockets of this cgroup are seen; 0: the kernel does not say."""
        if self._cgroup is None or not group:
            return True
        if group not in self._known:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[group] = group in set(_ids(self._cgroup))
        return self._known[group]


def _ids(cgroup: Path) -> Iterator[int]:
    """Of it and of all below it; those that come and go meanwhile may be missing."""
    left = [str(cgroup)]
    while left:
        place = left.pop()
        with suppress(OSError):
            yield os.stat(place).st_ino
            with os.scandir(place) as entries:
                left += [one.path for one in entries if one.is_dir(follow_symlinks=False)]
