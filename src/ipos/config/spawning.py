# SPDX-License-Identifier: Apache-2.0
"""What programs may ask the farm to run: `[[spawn]]`."""

import re
from typing import Annotated

from msgspec import Meta, Struct

from ipos.config.starting import Amount, Argument, memory_bytes

ARGUMENT_MAX = 128
"""Bytes of one argument of a call."""
ARGUMENTS_BYTES_MAX = 512
"""And of all of them: they travel in a state."""
_ANY = r"[A-Za-z0-9._:=,@+-]*"
_RANGE = re.compile(r"([0-9]+)-([0-9]+)")


class Spawn(Struct, frozen=True, forbid_unknown_fields=True):
    """`[[spawn]]`: a program that others on servers of the farm may ask for, by `ipos spawn NAME`.

    Each call starts one more, on the best server by free CPU and memory. `command` is run without a
    shell, with the arguments of the call behind it. `{port}` in it is the port to listen on, one of
    `ports` for each that runs. An argument of a call must fit one of `args`, in which an asterisk
    is any number of letters, digits and `._:=,@+-`.
    """

    name: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,23}$",
            description='1 to 24 letters, digits, hyphens and underscores, such as "worker"',
        ),
    ]
    command: Annotated[
        list[Argument],
        Meta(
            min_length=1,
            max_length=64,
            description='a command and its arguments, such as ["/usr/bin/worker", "--port={port}"]',
        ),
    ]
    ports: Annotated[
        str,
        Meta(
            pattern=r"^[0-9]{1,5}-[0-9]{1,5}$",
            description='the first and the last of some ports, such as "20000-20015"',
        ),
    ]
    args: Annotated[
        list[Annotated[str, Meta(pattern=r"^[!-~]{1,128}$")]],
        Meta(
            max_length=32,
            description="a list of at most 32 patterns of 1 to 128 characters without spaces, such "
            'as ["--size=*", "--fast"]',
        ),
    ] = []
    args_max: Annotated[int, Meta(ge=0, le=16, description="0 to 16 arguments")] = 8
    idle_stop_s: Annotated[
        int, Meta(ge=0, le=31_536_000, description="1 to 31536000 seconds, or 0 for never")
    ] = 0
    start_timeout_s: Annotated[int, Meta(ge=1, le=30, description="1 to 30 seconds")] = 20
    memory: Amount | None = None

    @property
    def numbers(self) -> range:
        """Its ports; empty where the first is behind the last."""
        found = _RANGE.fullmatch(self.ports)
        assert found is not None
        return range(int(found[1]), int(found[2]) + 1)

    @property
    def memory_bytes(self) -> int:
        """0 where nothing is said."""
        return memory_bytes(self.memory)

    def refusal(self, args: list[str]) -> str | None:
        """Why a call may not have these arguments."""
        if len(args) > self.args_max:
            return f"{self.name} takes at most {self.args_max} arguments, not {len(args)}"
        if sum(len(one.encode(errors="replace")) for one in args) > ARGUMENTS_BYTES_MAX:
            return f"the arguments of {self.name} have more than {ARGUMENTS_BYTES_MAX} bytes"
        for one in args:
            if len(one) > ARGUMENT_MAX or not any(_fits(pattern, one) for pattern in self.args):
                known = ", ".join(self.args) or "none"
                return f"{self.name} takes no argument {one[:40]!r}; it takes {known}"
        return None


def _fits(pattern: str, argument: str) -> bool:
    """With two asterisks at most, so this takes 128 * 128 steps at most."""
    parts = map(re.escape, pattern.split("*"))
    return re.fullmatch(_ANY.join(parts), argument) is not None
