# SPDX-License-Identifier: Apache-2.0
"""Network namespaces by name, as `ip netns` knows them, without its side effects.

`ip netns exec` also makes a mount namespace and remounts /sys, which hides bpffs and cgroup2 from
what runs inside. Only the network namespace is entered here: by `entered` in the calling thread, or
by `nsenter --net` for a process.
"""

import re
from pathlib import Path

from ipos.lab.errors import LabError
from ipos.lab.plan import BOX, NODE_PATTERN, SWITCH
from ipos.netns import entered

DIRECTORY = Path("/run/netns")
__all__ = ["DIRECTORY", "create", "entered", "is_alive", "of_lab", "path_of", "remove"]


def path_of(lab: str, node: str) -> Path:
    """Where the namespace of a lab's node is mounted."""
    return DIRECTORY / f"ipos-{lab}-{node}"


def of_lab(lab: str) -> list[Path]:
    """The lab's namespaces that exist, whether a manifest knows them or not."""
    pattern = re.compile(rf"ipos-{re.escape(lab)}-(?:{NODE_PATTERN}(?:{BOX})?|{SWITCH})")
    if not DIRECTORY.is_dir():
        return []
    return sorted(path for path in DIRECTORY.iterdir() if pattern.fullmatch(path.name))


def is_alive(path: Path) -> bool:
    """Whether a namespace is mounted at `path`: after a reboot there may be the bare file."""
    return path.exists() and path.stat().st_dev != DIRECTORY.stat().st_dev


def create(path: Path) -> None:
    """Make an empty namespace and mount it at `path`. LabError without the right to."""
    from pyroute2 import netns

    try:
        netns.create(path.name)
    except PermissionError as error:
        raise LabError("a lab needs root: it makes network namespaces; use sudo") from error


def remove(path: Path) -> None:
    """Unmount and forget the namespace; the kernel ends it once nothing runs in it."""
    from pyroute2 import netns

    try:
        netns.remove(path.name)
    except FileNotFoundError:
        pass
    except OSError:
        # An `up` that was interrupted between making the file and mounting on it.
        path.unlink(missing_ok=True)
