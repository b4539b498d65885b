# SPDX-License-Identifier: Apache-2.0
"""`ipos bugreport`: what a person who helps must see of this server, in one file."""

import io
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from ipos.errors import IposError

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_COMMAND_S = 20.0
_BYTES_MAX = 4 << 20
_TABLES = ("server", "listening", "application", "url")
"""Not those of connections and cookies, which name clients and their sessions."""


@app.command()
def bugreport(
    write: Annotated[
        Path | None, typer.Option("-w", "--write", metavar="FILE", help="The file to make.")
    ] = None,
) -> None:
    """Make one tar file about this server to send. It has no key, cookie or client in it.

    It has the configuration, addresses, routes, firewall rules and the agent's log: look at it
    before you give it away.
    """
    file = write or Path(f"ipos-bugreport-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz")
    try:
        # Exclusive: what it says is for its owner, and no other file is overwritten.
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise IposError(f"cannot make {file}: {error.strerror}") from None
    with open(fd, "wb") as stream, tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, text in contents():
            member = tarfile.TarInfo(f"ipos-bugreport/{name}")
            member.size, member.mtime, member.mode = len(text), int(time.time()), 0o600
            archive.addfile(member, io.BytesIO(text))
    print(f"written: {file}")


def contents() -> Iterator[tuple[str, bytes]]:
    """Names and texts. What a command says on stderr and its status stand below its output."""
    from ipos.agent.host.paths import config_file

    yield "ipos.toml", _text_of(config_file())
    yield "os-release", _text_of(Path("/etc/os-release"))
    for name, argv in (*_own().items(), *_systems().items()):
        yield f"{name}.txt", _output(argv)


def _own() -> Mapping[str, tuple[str, ...]]:
    ipos = (sys.executable, "-m", "ipos")
    asked = {
        "version": ("--version",),
        "status": ("status", "-o", "wide"),
        "doctor": ("doctor",),
        "counters": ("counters",),
        "routes": ("route", "list"),
        "config-check": ("config", "check"),
        "config-effective": ("config", "show", "--effective"),
        **{f"table-{name}": ("table", name) for name in _TABLES},
    }
    return {name: (*ipos, *words) for name, words in asked.items()}


def _systems() -> Mapping[str, tuple[str, ...]]:
    return {
        "uname": ("uname", "-a"),
        "interfaces": ("ip", "-details", "-statistics", "link", "show"),
        "addresses": ("ip", "address", "show"),
        "routes-all": ("ip", "route", "show", "table", "all"),
        "rules": ("ip", "rule", "show"),
        "neighbours": ("ip", "neighbour", "show"),
        "listeners": ("ss", "-Hltnp"),
        "firewall": ("nft", "list", "ruleset"),
        "settings": ("sysctl", "-a", "--pattern", r"^net\.(ipv4|core|netfilter|mptcp)\."),
        "log": ("journalctl", "--no-pager", "-n", "5000", "-u", "ipos-agent"),
        "kernel-log": ("dmesg", "--level=err,warn"),
    }


def _text_of(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(_BYTES_MAX)
    except OSError as error:
        return f"{file}: {error.strerror}\n".encode()


def _output(argv: tuple[str, ...]) -> bytes:
    head = f"$ {' '.join(argv)}\n".encode()
    try:
        done = subprocess.run(argv, capture_output=True, timeout=_COMMAND_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return head + f"{error}\n".encode()
    told = done.stdout[:_BYTES_MAX] + done.stderr[:_BYTES_MAX]
    return head + told + f"[exit status {done.returncode}]\n".encode()
