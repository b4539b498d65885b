# SPDX-License-Identifier: Apache-2.0
"""The secret of a lab's farm, and how it changes while the farm serves."""

from __future__ import annotations

from pathlib import Path

from tests.support.farm import SERVERS, Farm


def secret_file(farm: Farm) -> Path:
    """One that all servers of a lab share."""
    return farm.lab.run_dir / "farm.key"


def steps(old: bytes, new: bytes) -> tuple[bytes, ...]:
    """What the file holds, one after the other: believed, used, the old one forgotten."""
    return (old + b"\nalso " + new, new + b"\nalso " + old, new)


def change(farm: Farm, content: bytes) -> None:
    """One server after the other takes a file that all of them have."""
    secret_file(farm).write_bytes(content + b"\n")
    for server in SERVERS:
        farm.run(server, "ipos", "reload")
