# SPDX-License-Identifier: Apache-2.0
"""Chooses what holds an application that this server starts: systemd where it runs, or a cgroup."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ipos.config.starting import Start
from ipos.instance.group_process import GroupProcess
from ipos.instance.record import Record
from ipos.instance.systemd_unit import SystemdUnit, TransientUnit

_SYSTEMD = Path("/run/systemd/system")
"""It exists where systemd is the first process: sd_booted(3)."""


class Process(Protocol):
    """An application's processes. Each call may take its time."""

    def start(self, command: Sequence[str], memory: int, added: Mapping[str, str]) -> None: ...
    def is_alive(self) -> bool: ...
    def ending(self) -> str: ...
    def end(self, *, at_once: bool) -> None: ...
    def memory(self) -> int: ...
    def forget(self) -> None: ...


def process_of(record: Record) -> Process:
    """The processes that a record is about."""
    if record.transient:
        return TransientUnit(record.unit)
    return SystemdUnit(record.unit) if record.unit else GroupProcess(Path(record.group))


def new_record(service: str, start: Start, group: Path, *, by_systemd: bool) -> Record:
    """Of an application that was never started here. group: where a command's cgroup would be."""
    if start.unit is not None:
        return Record(service, unit=start.unit)
    if by_systemd:
        return Record(service, unit=f"{group.name}.service", transient=True)
    return Record(service, group=str(group))


def has_systemd() -> bool:
    return _SYSTEMD.is_dir()
