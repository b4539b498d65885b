# SPDX-License-Identifier: Apache-2.0
"""The bytes of `/bytes/N`: byte i is i modulo 251.

251 is prime, so no power-of-two block repeats: a lost, doubled or moved segment changes the hash.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

PERIOD = 251
_CHUNK = bytes(range(PERIOD)) * 1024
CACHE = Path("/var/cache/ipos/lab/bytes")
FILE_SIZES = (0, 1, *(10**exponent for exponent in range(2, 9)))
"""Sizes that nginx has a file for, up to 100 MB."""


def chunks(length: int) -> Iterator[memoryview]:
    """The first `length` bytes of the pattern, in pieces of at most 257,024 bytes."""
    whole = memoryview(_CHUNK)
    while length > 0:
        piece = whole[: min(length, len(_CHUNK))]
        yield piece
        length -= len(piece)  # every piece but the last is a multiple of the period


def sha256(length: int) -> str:
    """The hash that a client of `/bytes/<length>` must come to, in hexadecimal."""
    digest = hashlib.sha256()
    for piece in chunks(length):
        digest.update(piece)
    return digest.hexdigest()


def make_files(directory: Path = CACHE) -> Path:
    """Write the pattern files that are missing; all labs of a machine share them."""
    directory.mkdir(parents=True, exist_ok=True)
    for size in FILE_SIZES:
        path = directory / str(size)
        if path.exists() and path.stat().st_size == size:
            continue
        # Aside and then renamed: a lab that starts at the same time sees all of a file or none.
        aside = directory / f".{size}.{os.getpid()}"
        with aside.open("wb") as output:
            for piece in chunks(size):
                output.write(piece)
        aside.rename(path)
    return directory
