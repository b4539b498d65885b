# SPDX-License-Identifier: Apache-2.0
"""Which uplinks and service addresses are out of service, and the command that is told so.

All servers come to the same list, and the one of them with the first back address runs the command.
What it was told last is in a file, so that an agent that starts again repeats nothing. Every other
server takes it that the command was run, unless the first one is lost within some seconds.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from ipaddress import IPv4Address
from pathlib import Path

import structlog

from ipos import hook
from ipos.agent.heartbeat.member import Age
from ipos.agent.heartbeat.membership import Members
from ipos.agent.loop.undone import Undone
from ipos.agent.uplinks import uplink_faults
from ipos.agent.uplinks.uplink_faults import UplinkFault
from ipos.config.schema import Config
from ipos.files import FileError, read_bounded, write_whole

TIMEOUT_S = 30.0
RETRY_NS = 5_000_000_000
DOUBT_NS = 5_000_000_000
"""So long after a change, a server that becomes the first one runs the command once more."""
CONCERN = "uplinks"
_FILE_MAX = 4096

log = structlog.get_logger()

Spawn = Callable[[Coroutine[None, None, None]], asyncio.Task[None]]


class Outages:
    """The uplinks of one farm, as one agent knows them. `spawn` runs a coroutine as a task."""

    def __init__(
        self, config: Config, members: Members, file: Path, spawn: Spawn, undone: Undone
    ) -> None:
        """file: remembers which uplinks the command was told of as out."""
        self._config = config
        self._members = members
        self._file = file
        self._spawn = spawn
        self._undone = undone
        self._task: asyncio.Task[None] | None = None
        self._told = _read(file)
        self._changed_ns = 0
        self._retry_ns = 0
        self.out: dict[str, UplinkFault] = {}
        """The uplinks that are out of service, and why."""
        self.addresses: frozenset[int] = frozenset()
        """Their service addresses."""

    def look(self, now_ns: int, *, settled: bool) -> None:
        """Take in what the servers say. settled: who has not spoken by now is not there."""
        if not self._config.uplink:
            return
        out = uplink_faults.out_of_service(self._config.uplink, self._members, now_ns)
        listed = self._listed()
        self.addresses = frozenset(uplink_faults.addresses_in(self._config.uplink, out, listed))
        if out.keys() != self.out.keys():
            self._report(out)
            self._changed_ns = now_ns
        self.out = out
        if settled and self._has_verdicts():
            self._tell(sorted(out), sorted(listed), now_ns)

    @property
    def rests(self) -> bool:
        """Whether nobody has anything to tell the command, as far as is known."""
        return self._task is None and sorted(self.out) == self._told

    def well_elsewhere(self, now_ns: int) -> set[str]:
        """The uplinks that some other server finds well."""
        return {
            name
            for member in self._members.others()
            if member.state is not None and member.age(now_ns) is Age.FRESH
            for name, fault in (member.state.uplinks or {}).items()
            if fault == UplinkFault.NONE
        }

    def sentences(self) -> list[str]:
        """What an operator is to know."""
        found = []
        for name, fault in self.out.items():
            listed = uplink_faults.addresses_in(self._config.uplink, [name], self.addresses)
            shown = ", ".join(str(IPv4Address(one)) for one in listed)
            found.append(
                f"the uplink {name} is out of service ({uplink_faults.TEXTS[fault]}), and nobody "
                f"answers for {shown or 'any address'} until it is back"
            )
        return found

    def why(self, address: int) -> str:
        """Why nobody answers for an address; empty where that is not so."""
        for name in self.out if address in self.addresses else ():
            if uplink_faults.addresses_in(self._config.uplink, [name], [address]):
                return f"its uplink {name} is out of service"
        return ""

    def _listed(self) -> set[int]:
        return {
            address
            for member in self._members.by_ip.values()
            if member.state is not None
            for address in member.state.addresses
        }

    def _has_verdicts(self) -> bool:
        """Whether this server has looked at all its uplinks."""
        mine = self._members.myself.state
        said = (mine.uplinks or {}).values() if mine is not None else ()
        return bool(said) and UplinkFault.UNKNOWN not in said

    def _is_first(self, now_ns: int) -> bool:
        me = self._members.me
        return not any(
            member.back_ip < me
            for member in self._members.others()
            if member.state is not None and member.age(now_ns) is not Age.DOWN
        )

    def _tell(self, out: list[str], listed: Sequence[int], now_ns: int) -> None:
        """Run the command if there is anything new, and it is for this server to run it."""
        if out == self._told or self._task is not None or now_ns < self._retry_ns:
            return
        if not self._is_first(now_ns):
            if now_ns - self._changed_ns >= DOUBT_NS:
                self._take(out)
            return
        command = self._config.agent.uplink_command
        if command is None:
            self._take(out)
            return
        self._task = self._spawn(self._run(command, out, listed, now_ns))

    async def _run(
        self, command: Sequence[str], out: list[str], listed: Sequence[int], now_ns: int
    ) -> None:
        gone = self.addresses
        environment = {
            "IPOS_UPLINKS_OUT": " ".join(out),
            "IPOS_ADDRESSES_OUT": _spoken(one for one in listed if one in gone),
            "IPOS_ADDRESSES": _spoken(one for one in listed if one not in gone),
            "IPOS_SERVER": self._config.server.name,
        }
        try:
            failed = await asyncio.to_thread(hook.run, command, environment, TIMEOUT_S)
        finally:
            self._task = None
        self._undone.note(CONCERN, f"agent.uplink_command: {failed}" if failed else "")
        if failed:
            self._retry_ns = now_ns + RETRY_NS
            return
        log.warning("uplink_command was told", uplinks_out=out, addresses=environment)
        self._take(out)

    def _take(self, out: list[str]) -> None:
        self._told = out
        self._spawn(asyncio.to_thread(_write, self._file, out))

    def _report(self, out: dict[str, UplinkFault]) -> None:
        for name in out.keys() - self.out.keys():
            log.warning("uplink out of service", uplink=name, reason=uplink_faults.TEXTS[out[name]])
        for name in self.out.keys() - out.keys():
            log.warning("uplink is back", uplink=name)


def _spoken(addresses: Iterable[int]) -> str:
    return " ".join(str(IPv4Address(one)) for one in addresses)


def _read(file: Path) -> list[str]:
    try:
        return read_bounded(file, _FILE_MAX).decode("ascii", "replace").split()
    except (FileError, OSError):
        return []


def _write(file: Path, out: Sequence[str]) -> None:
    try:
        write_whole(file, " ".join(out).encode(), durable=False)
    except (FileError, OSError) as error:
        log.error("cannot remember which uplinks are out", reason=str(error))
