# SPDX-License-Identifier: Apache-2.0
"""What the agent must still know of the applications that it starts when it is started again."""

from enum import IntEnum
from pathlib import Path

import msgspec

from ipos import state_file


class Phase(IntEnum):
    """Where an application is that this server may start."""

    NONE = 0  # it does not run, and may be started
    STARTING = 1  # it runs and is not well yet
    RUNNING = 2
    STOPPING = 3  # it gets nothing new, and ends
    FAILED = 4  # it could not be started, and it is too early to try again


class Record(msgspec.Struct):
    """One of them. Times are ms since 1970.

    `group` is the cgroup of a command, `unit` the name of a unit of systemd, and `transient`
    whether that unit is made for a command. `obeyed` is the number of the last choice that was
    carried out. `memory` is the most that it was seen to have, in bytes. `failures` are those in a
    row, and `why` is the sentence about the last one, empty after a success. `call` is the call
    for a spawned program that it was started for; then `why` says how that has ended.
    """

    service: str
    group: str = ""
    unit: str = ""
    transient: bool = False
    phase: Phase = Phase.NONE
    since_ms: int = 0
    obeyed: int = 0
    memory: int = 0
    failures: int = 0
    retry_ms: int = 0
    why: str = ""
    call: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """What it is known by to the machine."""
        return self.group, self.unit


def write(file: Path, records: list[Record]) -> None:
    """FileError, and the old file stays, when it cannot be written."""
    state_file.write(file, records, durable=False)


def take(file: Path, say: state_file.Say) -> list[Record]:
    """What the file holds; a damaged one is set aside."""
    return state_file.take(file, list[Record], say) or []


def read(file: Path) -> list[Record]:
    """The same for one who does not write it."""
    return state_file.peek(file, list[Record]) or []
