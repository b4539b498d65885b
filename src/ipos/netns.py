# SPDX-License-Identifier: Apache-2.0
"""The calling thread in another network namespace for a while.

Python has os.setns from 3.12 on, hence ctypes.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
OWN = Path("/proc/thread-self/ns/net")


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def entered(target: Path | int) -> Iterator[None]:
    """The calling thread is in the namespace: for its sockets, netlink and /proc/sys/net.

    target: where the namespace is, or a descriptor of it. A socket stays in the namespace it was
    made in, so it may be used after the block.
    """
    home = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = target if isinstance(target, int) else os.open(target, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there)
        finally:
            if there is not target:
                os.close(there)
        yield
    finally:
        # Whether it had come away or not: an interrupt tells nobody.
        _setns(home)
        os.close(home)
