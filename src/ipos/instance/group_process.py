# SPDX-License-Identifier: Apache-2.0
"""A command in a cgroup of its own, which holds all that it starts.

The cgroup's name is known before the command runs. So an agent that is started again finds the
processes, whenever the one before it has ended, and never starts a second command beside them.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ipos import open_files
from ipos.errors import IposError

_JOIN = 'ulimit -S -n "$2" && echo 0 >"$1" && shift 2 && exec "$@"'
_NOT_INHERITED = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SAID = {126: "cannot be run", 127: "was not found"}


class GroupProcess:
    """`group` is the cgroup. Its methods may be called in any thread, one at a time."""

    def __init__(self, group: Path) -> None:
        self._group = group
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str], memory: int, added: Mapping[str, str]) -> None:
        """Run it, unless something runs in its cgroup. memory: the most it may have; 0: any.

        added: to our own environment. IposError when its cgroup cannot be made.
        """
        try:
            self._group.mkdir(exist_ok=True)
            limit = self._group / "memory.max"
            if limit.exists():
                limit.write_text(str(memory or "max"))
        except OSError as error:
            raise IposError(f"its cgroup {self._group} cannot be made: {error.strerror}") from None
        if self.is_alive():
            return
        environment = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
        members = str(self._group / "cgroup.procs")
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _JOIN, "sh", members, open_files.usual(), *command],
                stdin=subprocess.DEVNULL,
                env={**environment, **added},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise IposError(f"{command[0]} cannot be run: {reason}") from None

    def is_alive(self) -> bool:
        """Whether it, or something that it has started, runs."""
        if self._process is not None and self._process.poll() is None:
            return True  # before it has entered its cgroup, too
        try:
            return "populated 1" in (self._group / "cgroup.events").read_text()
        except OSError:
            return False

    def ending(self) -> str:
        """How it has ended: a clause."""
        code = None if self._process is None else self._process.poll()
        if code is None:
            return "its command has ended"
        if code < 0:
            return f"its command was ended by {signal.Signals(-code).name}"
        said = f", as one that {_SAID[code]}" if code in _SAID else ""
        return f"its command ended with status {code}{said}"

    def end(self, *, at_once: bool) -> None:
        """Ask all of it to end by SIGTERM, or kill it."""
        if at_once:
            with suppress(OSError):
                (self._group / "cgroup.kill").write_text("1")
            return
        for pid in self._pids():
            with suppress(OSError):
                descriptor = os.pidfd_open(pid)
                try:
                    if pid in self._pids():  # the number may be another process's by now
                        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
                finally:
                    os.close(descriptor)

    def memory(self) -> int:
        """Bytes that all of it has in memory."""
        found = 0
        for pid in self._pids():
            with suppress(OSError, ValueError, IndexError):
                found += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        return found

    def forget(self) -> None:
        """Remove the cgroup of what has ended."""
        if self._process is not None:
            self._process.poll()
        with suppress(OSError):
            self._group.rmdir()

    def _pids(self) -> list[int]:
        try:
            return [int(one) for one in (self._group / "cgroup.procs").read_text().split()]
        except OSError:
            return []
