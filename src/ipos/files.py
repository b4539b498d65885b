# SPDX-License-Identifier: Apache-2.0
"""Reads small files with a bound, and writes them whole.

A path in a configuration may lead to anything: a directory, a FIFO that nobody writes to,
`/dev/zero`. Only a regular file is read, and no more of it than a file of its kind may have.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from ipos.errors import IposError

SIZE_MAX = 16 << 20
"""Bytes; a configuration of ten thousand rules has a tenth of it."""

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class FileError(IposError):
    """A path that leads to no file of ours, or to one that cannot be written."""


def read_bounded(path: Path, most: int = SIZE_MAX) -> bytes:
    """What a regular file holds. FileError for what is none or is longer, else OSError."""
    # O_NONBLOCK: to open a FIFO does not wait for one who writes.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "no file")
            raise FileError(f"{path} is {kind}; a regular file is expected there")
        pieces, left = [], most + 1
        while left and (piece := os.read(fd, min(left, 1 << 20))):
            pieces.append(piece)
            left -= len(piece)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(fd)
    if not left:
        raise FileError(f"{path} is longer than the {most} bytes such a file may have")
    return b"".join(pieces)


def write_whole(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Put a file in its place at once: a reader sees the old one or the new one, never half of one.

    durable: nor does one who reads after a power failure; waits for the disk. FileError, and the
    old file stays, when it cannot be written.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        _write(fresh, data, durable=durable)
        os.replace(fresh, path)
        if durable:
            _sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink()  # on a full file system what there is of it takes room
        reason = error.strerror or error
        raise FileError(f"cannot write {path}: {reason}") from None


def _write(path: Path, data: bytes, *, durable: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK
    fd = os.open(path, flags, 0o644)
    try:
        while data:
            data = data[os.write(fd, data) :]
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
