# SPDX-License-Identifier: Apache-2.0
"""Where lines of the access log go: a file or stdout, syslog, or journald."""

import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Protocol

To = Literal["file", "syslog", "journald"]
SYSLOG = Path("/dev/log")
JOURNAL = Path("/run/systemd/journal/socket")
_LOCAL0_INFO = 16 * 8 + 6
_NAME = "ipos-access"


class Target(Protocol):
    """OSError when it takes no lines now."""

    def write(self, lines: Iterable[bytes]) -> None: ...
    def close(self) -> None: ...


class File:
    """Appends to a file, or writes to stdout where `path` is None."""

    def __init__(self, path: Path | None) -> None:
        if path is None:
            self._fd = os.dup(sys.stdout.fileno())
        else:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o640)

    def write(self, lines: Iterable[bytes]) -> None:
        data = b"".join(lines)
        while data:
            data = data[os.write(self._fd, data) :]

    def close(self) -> None:
        os.close(self._fd)


class Datagrams:
    """One datagram for each line, to a socket of this machine."""

    def __init__(self, path: Path, before: bytes) -> None:
        self._before = before
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def write(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            self._socket.send(self._before + line)

    def close(self) -> None:
        self._socket.close()


def open_target(to: To, path: Path | None) -> Target:
    """`path` is of a file alone. OSError says why it cannot be opened."""
    if to == "syslog":
        return Datagrams(SYSLOG, f"<{_LOCAL0_INFO}>{_NAME}: ".encode())
    if to == "journald":
        return Datagrams(JOURNAL, f"PRIORITY=6\nSYSLOG_IDENTIFIER={_NAME}\nMESSAGE=".encode())
    return File(path)
