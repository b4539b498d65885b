# SPDX-License-Identifier: Apache-2.0
"""What a container is called: by its engine, else by its id, else by its network namespace.

An engine is not asked, because that would run a program. Docker and Podman write down what their
containers are called, and the id of a container is in the name of its cgroup.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ipos.agent.network.wired_namespaces import MOUNTS, Seat

_ID = re.compile(r"[0-9a-f]{64}")
_SHORT = 12
"""Characters of an id that engines show."""
LEAST = 4
"""Characters of an id that name a container."""
_DOCKER = Path("/var/lib/docker/containers")
_PODMAN = (
    Path("/var/lib/containers/storage/overlay-containers/containers.json"),
    Path("/var/lib/containers/storage/vfs-containers/containers.json"),
)


def number_of(seat: Seat) -> str:
    """The id of a container, "" when its cgroup does not say."""
    found = _ID.findall(seat.cgroup)
    return found[-1] if found else ""


def name_of(seat: Seat) -> str:
    """What its users call it."""
    number = number_of(seat)
    for name in _engine_names(number) if number else ():
        return name
    if number:
        return number[:_SHORT]
    if seat.path.parent in MOUNTS:
        return seat.path.name
    return seat.cgroup.rstrip("/").rpartition("/")[2] or f"net:[{seat.inode}]"


def fits(wanted: str, name: str, seat: Seat) -> bool:
    """Whether `container:NAME`, `netns:PATH` or `cgroup:PATH` means this one."""
    kind, _, what = wanted.partition(":")
    if kind == "container":
        number = number_of(seat)
        return what == name or (len(what) >= LEAST and number.startswith(what))
    if kind == "netns":
        with suppress(OSError):
            return Path(what).stat().st_ino == seat.inode
        return False
    inside = "/" + what.strip("/")
    return seat.cgroup == inside or seat.cgroup.startswith(inside + "/")


def _engine_names(number: str) -> Iterator[str]:
    with suppress(OSError, ValueError, AttributeError):
        said = json.loads((_DOCKER / number / "config.v2.json").read_text())
        yield str(said["Name"]).lstrip("/")
    for file in _PODMAN:
        with suppress(OSError, ValueError, KeyError, TypeError):
            for one in json.loads(file.read_text()):
                if one["id"] == number:
                    yield from map(str, one["names"])
