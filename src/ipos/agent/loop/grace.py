# SPDX-License-Identifier: Apache-2.0
"""Waits until every CPU has finished the packets that it was working on: a grace period of RCU.

The data plane may have given a packet to TCP on another CPU, and no table says whether TCP has it
yet. The kernel handles packets inside read-side critical sections of RCU, and MEMBARRIER_CMD_GLOBAL
of membarrier(2) returns when all sections have ended that began before: usually after some ten
milliseconds.
"""

import asyncio
import ctypes
import platform
import time

_NUMBER = {"x86_64": 324, "aarch64": 283, "riscv64": 283}.get(platform.machine())
_GLOBAL = 1
_PAUSE_S = 0.05


class Period:
    """The last grace period. One serves all passes that act on rows older than its age."""

    def __init__(self) -> None:
        self._begun_ns = 0

    async def renew(self, age_ns: int) -> None:
        """Wait for a grace period in a thread, unless the last began less than age_ns ago."""
        begun_ns = time.monotonic_ns()
        if not self._begun_ns or begun_ns - self._begun_ns > age_ns:
            await asyncio.to_thread(wait)
            self._begun_ns = begun_ns


def wait() -> None:
    """Return after a grace period; after 50 ms where the kernel has no such call (nohz_full)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if _NUMBER is None or libc.syscall(_NUMBER, _GLOBAL, 0, 0):
        time.sleep(_PAUSE_S)
