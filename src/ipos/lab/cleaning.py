# SPDX-License-Identifier: Apache-2.0
"""Removes a lab in whatever state it is, and proves that nothing of it is left.

Everything is found by name and not from the manifest, because a lab whose `up` was killed halfway
has no manifest that could be trusted.
"""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from ipos.errors import IposError
from ipos.lab import cgroups, namespaces
from ipos.lab.errors import LabError
from ipos.lab.places import PINS, ROOT
from ipos.lab.plan import NODE_PATTERN


def remains(lab: str) -> list[Path]:
    """What exists of a lab: namespaces, cgroups, pins, files. Empty: nothing."""
    found = [*namespaces.of_lab(lab), *_pin_dirs(lab)]
    return found + [path for path in (cgroups.path_of(lab), ROOT / lab) if path.exists()]


def clean(lab: str, keep_directory: bool = False) -> None:
    """End the lab's processes, detach, and remove all it has. LabError if something stays.

    keep_directory: empty the lab's directory instead of removing it, because a lock is on it that
    is still needed.
    """
    group = cgroups.path_of(lab)
    if os.getpid() in cgroups.processes(group):
        raise LabError(f"this command runs inside lab {lab} and would end itself; run it outside")
    cgroups.end(group)
    _detach(lab)
    for pins in _pin_dirs(lab):
        shutil.rmtree(pins, ignore_errors=True)
    for namespace in namespaces.of_lab(lab):
        namespaces.remove(namespace)
    cgroups.remove(group)
    _remove_files(ROOT / lab, keep_directory)
    for shared in (PINS, group.parent, ROOT, ROOT.parent):
        try:
            shared.rmdir()
        except OSError:
            pass  # another lab, or the host's own ipOS, is in there
    left = remains(lab)
    if keep_directory:
        left.remove(ROOT / lab)
    if left:
        raise LabError(
            f"lab {lab} is ended but these could not be removed: {', '.join(map(str, left))}"
        )


def _remove_files(directory: Path, keep_directory: bool) -> None:
    for path in list(directory.iterdir()) if directory.is_dir() else []:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if not keep_directory and directory.is_dir():
        directory.rmdir()


def _pin_dirs(lab: str) -> list[Path]:
    pattern = re.compile(rf"{re.escape(lab)}-{NODE_PATTERN}")
    if not PINS.is_dir():
        return []
    return sorted(path for path in PINS.iterdir() if pattern.fullmatch(path.name))


def _detach(lab: str) -> None:
    """Take each server's data plane off its hooks.

    Not by the command `ipos detach`: that would start a process for each server to give back a
    network that ends here. A failure does not matter: removing pins and namespace ends it too.
    """
    # Only `down` needs this: `exec` is spared the import.
    from ipos.kernel import data_plane

    for directory in _pin_dirs(lab):
        for plane in directory.iterdir():
            with suppress(IposError, OSError):
                data_plane.detach(plane)
