# SPDX-License-Identifier: Apache-2.0
"""A farm on one machine: namespaces as hosts, a router, clients, applications and faults.

    from ipos.lab import Lab

    with Lab(Settings(name="t1", servers=2)) as lab:
        lab.run("client1", ["curl", "http://203.0.113.1/"])

`Lab` and `Settings` are imported when first asked for, so that the applications, which are modules
of this package and run in every server, do not pay for them at start.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipos.lab.errors import LabError
    from ipos.lab.lab import Lab
    from ipos.lab.plan import Settings

__all__ = ["Lab", "LabError", "Settings"]


def __getattr__(name: str) -> Any:
    if name == "Lab":
        from ipos.lab.lab import Lab

        return Lab
    if name == "LabError":
        from ipos.lab.errors import LabError

        return LabError
    if name == "Settings":
        from ipos.lab.plan import Settings

        return Settings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
