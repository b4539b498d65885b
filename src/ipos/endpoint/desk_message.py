# SPDX-License-Identifier: Apache-2.0
"""What an application and its server's agent tell each other about endpoints.

One message is one packet of a Unix socket of kind SEQPACKET: a MessagePack array with its kind in
front. Descriptors travel beside it. Bytes of any length are in a sealed memory file.
"""

import fcntl
import os
from typing import Annotated

import msgspec
from msgspec import Meta

SIZE_MAX = 2048
FDS_MAX = 2
NAME_MAX = 64
TEXT_MAX = 512
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_Key = Annotated[bytes, Meta(max_length=128)]
_Text = Annotated[str, Meta(max_length=TEXT_MAX)]


class Register(msgspec.Struct, frozen=True, array_like=True, tag="register"):
    """With a listening socket: whose connections it gets may come here. takes: those that migrate;
    else only wishes are heard."""

    takes: bool = True


class Give(msgspec.Struct, frozen=True, array_like=True, tag="give"):
    """With the socket, and its state in a memory file."""

    number: int
    to: Annotated[str, Meta(max_length=NAME_MAX)]


class Again(msgspec.Struct, frozen=True, array_like=True, tag="again"):
    """With a socket whose agent has ended while it was given: is it still ours?"""

    number: int


class Back(msgspec.Struct, frozen=True, array_like=True, tag="back"):
    """With a socket that came, and whose agent has ended before it was live."""

    key: _Key


class Registered(msgspec.Struct, frozen=True, array_like=True, tag="registered"):
    """The services of that listener; none: why says what is wrong."""

    services: list[str]
    why: _Text = ""


class Given(msgspec.Struct, frozen=True, array_like=True, tag="given"):
    """How a `Give` or `Again` has ended. why: it is not given, but ours."""

    number: int
    is_given: bool
    why: _Text = ""


class Coming(msgspec.Struct, frozen=True, array_like=True, tag="coming"):
    """With a socket that must not be used yet, and a memory file: first `unsent` bytes that are to
    be written to it when it is live, then the state."""

    key: _Key
    client_ip: str
    client_port: int
    unsent: int


class Live(msgspec.Struct, frozen=True, array_like=True, tag="live"):
    """It is ours now."""

    key: _Key


class Dropped(msgspec.Struct, frozen=True, array_like=True, tag="dropped"):
    """It is not, and never will be."""

    key: _Key


class Wanted(msgspec.Struct, frozen=True, array_like=True, tag="wanted"):
    """Somebody wants this client's connection to go; without an address: all of them."""

    client_ip: str
    client_port: int
    to: str


Message = Register | Give | Again | Back | Registered | Given | Coming | Live | Dropped | Wanted
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


def encode(said: Message) -> bytes:
    return _encoder.encode(said)


def decode(raw: bytes) -> Message | None:
    """None for what is no message."""
    try:
        return _decoder.decode(raw)
    except msgspec.MsgspecError:
        return None


def memory_file(*contents: bytes) -> int:
    """A descriptor of a sealed file with these bytes, to be closed."""
    fd = os.memfd_create("ipos-endpoint", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for content in contents:
            left = memoryview(content)
            while left:
                left = left[os.write(fd, left) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(fd)
        raise
    return fd


def read_file(fd: int, most: int) -> bytes:
    """What is in such a file. ValueError for another kind of file, which might keep its reader
    waiting, and for a longer one."""
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        raise ValueError("it is no memory file") from None
    if seals & _SEALS != _SEALS:
        raise ValueError("the memory file is not sealed")
    size = os.fstat(fd).st_size
    if size > most:
        raise ValueError(f"it has {size} bytes, and may have {most}")
    found = bytearray()
    while len(found) < size:
        piece = os.pread(fd, size - len(found), len(found))
        if not piece:
            break
        found += piece
    return bytes(found)
