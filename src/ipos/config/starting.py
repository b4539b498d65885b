# SPDX-License-Identifier: Apache-2.0
"""How the application of a service is started when a request comes: `start` of a service."""

from typing import Annotated

from msgspec import Meta, Struct

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
Argument = Annotated[str, Meta(min_length=1)]
Amount = Annotated[
    str,
    Meta(
        pattern=r"^[1-9][0-9]{0,6}[KMGT]$",
        description='an amount of memory, such as "512M" or "2G"',
    ),
]


def memory_bytes(amount: str | None) -> int:
    """0 where nothing is said."""
    return int(amount[:-1]) * _UNITS[amount[-1]] if amount else 0


class Start(Struct, frozen=True, forbid_unknown_fields=True):
    """`start = { ... }` of a service: how a server starts its application, and when it stops it.

    Without `start`, a service has an application where something listens. With it, the best server
    by free CPU and memory starts one for the first request, by a command that stays in the
    foreground or by a unit of systemd. `memory` is what it needs until it is known what it took
    last time, and, where the machine can limit it, the most that a command may have.
    """

    command: (
        Annotated[
            list[Argument],
            Meta(
                min_length=1,
                max_length=64,
                description='a command and its arguments, such as ["/usr/sbin/shop", "--port=80"]',
            ),
        ]
        | None
    ) = None
    unit: (
        Annotated[
            str,
            Meta(
                pattern=r"^[A-Za-z0-9:_.@-]{1,240}\.service$",
                description='the name of a unit of systemd, such as "shop.service"',
            ),
        ]
        | None
    ) = None
    idle_stop_s: Annotated[
        int, Meta(ge=0, le=31_536_000, description="1 to 31536000 seconds, or 0 for never")
    ] = 0
    start_timeout_s: Annotated[int, Meta(ge=1, le=30, description="1 to 30 seconds")] = 20
    memory: Amount | None = None
    load: Annotated[
        int, Meta(ge=0, le=16_777_216, description="connections from 1 to 16777216, or 0 for any")
    ] = 0

    @property
    def memory_bytes(self) -> int:
        """0 where nothing is said."""
        return memory_bytes(self.memory)

    @property
    def what(self) -> str:
        """For people: what is started."""
        return self.unit or (self.command or [""])[0]
