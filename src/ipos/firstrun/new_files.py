# SPDX-License-Identifier: Apache-2.0
"""What a first start does to a machine: the files of `ipos setup`, and what the agent changes."""

import os
import secrets
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

from ipos.errors import IposError
from ipos.firstrun.first_config import Answers

KEY_BYTES = 32


def told(answers: Answers, file: Path, *, new_key: bool) -> Iterator[str]:
    """A sentence for each change, now and when the agent starts."""
    yield f"write {file}"
    if new_key:
        yield f"make a new key, {answers.key}, which only root can read"
    front, back = answers.front, answers.back
    yield "and the agent, when it starts, undone by `ipos detach`:"
    yield f"  attach programs to {front}" + (f" and {back}" if back != front else "")
    for address in answers.addresses:
        yield f"  put {address}/32 on {front}, if it is not there"
    yield "  take the other servers' service addresses in, by local routes"
    yield f"  set net.ipv4.conf.{front}.arp_ignore=1 and arp_announce=2"
    yield f"  set net.ipv4.conf.{back}.rp_filter=2, net.ipv4.tcp_rfc1337=0"
    yield "  set net.mptcp.enabled=0, and net.ipv4.tcp_syncookies=1 if it is 0"
    yield "  where a firewall translates addresses, keep connection tracking from the services"


def expect_key(key: Path, *, new_farm: bool) -> bool:
    """Whether a key must be made. IposError where one is missing that other servers have.

    All servers of a farm have one key. Servers with keys of their own do not hear each other.
    """
    if key.exists():
        if new_farm:
            raise IposError(f"{key} exists already, so this is no new farm: leave --new-farm out")
        return False
    if not new_farm:
        raise IposError(
            f"there is no key in {key}. Every server of a farm has the same one: copy it from a "
            "server that has it, or say --new-farm if this is the first server"
        )
    return True


def make_key(key: Path) -> None:
    """A new key, readable by its owner only. IposError when it cannot be written."""
    _write(key, b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n", 0o600)


def write_config(file: Path, text: str) -> None:
    """IposError when it cannot be written."""
    _write(file, text, 0o644)


def _write(file: Path, text: str, mode: int) -> None:
    """Whole, or not at all; never over another file."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(fd, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(fd)
    except FileExistsError:
        raise IposError(f"{file} exists already; it is left as it is") from None
    except OSError as error:
        file.unlink(missing_ok=True)
        raise IposError(f"cannot write {file}: {error.strerror}") from None
