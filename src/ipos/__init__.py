# SPDX-License-Identifier: Apache-2.0
"""ipOS: a server farm without a load-balancer tier.

`ipos.spawn()` is for programs on the servers of a farm.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipos.spawned import Spawned as Spawned
    from ipos.spawned import spawn as spawn

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`spawn` and `Spawned` are imported when they are used: `ipos --help` is to answer at once."""
    if name not in ("spawn", "Spawned"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ipos import spawned

    return getattr(spawned, name)
