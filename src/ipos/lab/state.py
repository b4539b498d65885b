# SPDX-License-Identifier: Apache-2.0
"""What is known of labs between two commands: one manifest per lab, and a lock.

The manifest is written before anything is made and says `starting` until all of it is up, so that
the next command knows a lab that was interrupted.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ipos import locks
from ipos.lab.errors import LabError
from ipos.lab.places import ROOT
from ipos.lab.plan import Settings


@dataclass(frozen=True, slots=True)
class Manifest:
    """A lab as it was asked for. complete: whether `up` came to its end."""

    settings: Settings
    complete: bool


def _file(name: str) -> Path:
    return ROOT / name / "manifest.json"


def read(name: str) -> Manifest | None:
    """The manifest of a lab; None if there is none, it was cut off while being written, or it says
    what this version does not know.
    """
    try:
        content = json.loads(_file(name).read_text())
        return Manifest(Settings(**content["settings"]), content["complete"])
    except (OSError, ValueError, KeyError, TypeError, LabError):
        return None


def is_foreign(name: str) -> bool:
    """Whether the manifest is whole, but another version of ipOS made it."""
    try:
        content = json.loads(_file(name).read_text())
    except (OSError, ValueError):
        return False
    return read(name) is None and isinstance(content, dict) and "settings" in content


def write(manifest: Manifest) -> None:
    """Put the manifest in its place at once."""
    path = _file(manifest.settings.name)
    aside = path.with_suffix(".new")
    content = {"settings": asdict(manifest.settings), "complete": manifest.complete}
    aside.write_text(json.dumps(content, indent=2) + "\n")
    aside.rename(path)


def names() -> list[str]:
    """Labs that have a directory, whole or broken."""
    if not ROOT.is_dir():
        return []
    return sorted(path.name for path in ROOT.iterdir() if path.is_dir())


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One `up` or `down` of a lab at a time: the lock is on its directory, made if need be."""
    directory = ROOT / name
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        with locks.locked(directory) as descriptor:
            # Whoever held the lock may have removed the directory: then this is a lock on nothing.
            if directory.exists() and os.path.samestat(os.fstat(descriptor), directory.stat()):
                yield
                return
