# SPDX-License-Identifier: Apache-2.0
"""The files of the agent: each is written whole, with a checksum.

    {"blake2b": "<32 hexadecimal digits>", "content": <JSON>}

The checksum (BLAKE2b, RFC 7693) is over the bytes of `content`. A file without one comes from an
earlier version, and is believed when it can be read. A damaged file ends no program: whoever writes
that file renames it, reports it and continues without it; whoever only reads it reports it and
continues.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from ipos.errors import IposError
from ipos.files import FileError, read_bounded, write_whole

T = TypeVar("T")
Say = Callable[[str], object]


def tell(text: str) -> None:
    print(f"ipos: {text}", file=sys.stderr)


class Damaged(IposError):
    """A file whose content is not what was written."""


class _Whole(msgspec.Struct):
    blake2b: str
    content: msgspec.Raw


def write(file: Path, value: object, *, durable: bool = True) -> None:
    """FileError, and the old file stays, when it cannot be written."""
    content = msgspec.json.encode(value)
    whole = b'{"blake2b":"%s","content":%s}\n' % (_checksum(content).encode(), content)
    write_whole(file, whole, durable=durable)


def read(file: Path, kind: type[T]) -> T | None:
    """What a file holds, None where there is none. Damaged: it cannot be believed."""
    try:
        raw = read_bounded(file)
    except FileNotFoundError:
        return None
    except FileError as error:
        raise Damaged(str(error)) from None
    try:
        content = _content(raw)
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Damaged(f"{file} is damaged: {error}") from None


def take(file: Path, kind: type[T], say: Say = tell) -> T | None:
    """What a file holds; called by its writer. A damaged one is set aside, and `say` told."""
    try:
        return read(file, kind)
    except Damaged as damage:
        aside = file.with_name(f"{file.name}.damaged")
        try:
            os.replace(file, aside)
        except OSError as error:
            say(f"{damage}; it could not be set aside ({error.strerror}), and is not used")
        else:
            say(f"{damage}; it is not used, and is {aside} now")
        return None
    except OSError as error:
        say(f"{file} cannot be read: {error.strerror}; it is not used")
        return None


def peek(file: Path, kind: type[T], say: Say = tell) -> T | None:
    """What a file holds; called by those that only read it. Of a damaged one `say` is told."""
    try:
        return read(file, kind)
    except Damaged as damage:
        say(f"{damage}; what it would say is left out")
    except OSError as error:
        say(f"{file} cannot be read: {error.strerror}; what it would say is left out")
    return None


def _content(raw: bytes) -> bytes:
    try:
        whole = msgspec.json.decode(raw, type=_Whole)
    except msgspec.ValidationError:
        said = msgspec.json.decode(raw)
        if isinstance(said, dict) and not said.keys().isdisjoint(_Whole.__struct_fields__):
            raise
        return raw  # of an earlier version
    content = bytes(whole.content)
    if whole.blake2b != _checksum(content):
        raise msgspec.ValidationError("its checksum is not that of its content")
    return content


def _checksum(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
