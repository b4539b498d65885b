# SPDX-License-Identifier: Apache-2.0
"""Asks all servers to examine themselves, and examines this one when another asks.

A question costs a server a part of a second of CPU time, so a server examines itself at most once
in `FRESH_NS`, however many ask. Who asks is answered only if it is a member. An examination runs in
a thread: it starts programs that list firewalls.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import structlog

from ipos.agent.examination import findings_message
from ipos.agent.examination.findings_message import Findings, Question, Said
from ipos.agent.heartbeat.datagram_tags import Key
from ipos.agent.heartbeat.datagrams import Source
from ipos.agent.heartbeat.member import Age, Member
from ipos.agent.heartbeat.membership import Members
from ipos.agent.heartbeat.message import PORT
from ipos.agent.host.own_state import boottime_ns
from ipos.agent.loop.tasks import Tasks

FRESH_NS = 2_000_000_000
"""So long an examination is as good as a new one."""
PATIENCE_S = 15.0
"""How long an answer is waited for from servers that are heard: a firewall may be long."""
AGAIN_S = 1.0
"""After so long, who has not answered is asked again: a datagram may be lost."""

Look = Callable[[], Sequence[Said]]
Send = Callable[[bytes, tuple[str, int]], None]
log = structlog.get_logger()


@dataclass(slots=True)
class _Answer:
    """What has come of one server's findings."""

    parts: dict[int, Findings] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        return bool(self.parts) and len(self.parts) == next(iter(self.parts.values())).parts


@dataclass(slots=True)
class _Asking:
    """A question that is out. `news` is set when a whole answer has come."""

    number: int
    answers: dict[IPv4Address, _Answer] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)


def host(config: Path) -> Look:
    """What examines this machine, whose configuration is this file."""

    def look() -> list[Said]:
        from ipos.doctor.examination import examination  # its libraries are for this alone

        found = examination(config, ours=True)
        return [Said(one.check, one.message, one.seen) for one in found if not one.ok]

    return look


class Examiner:
    """Both sides of it, of one agent. `look` examines this machine and may take seconds."""

    def __init__(self, members: Members, key: Key, send: Send, tasks: Tasks, look: Look) -> None:
        self._members = members
        self._key = key
        self._send = send
        self._tasks = tasks
        self._look = look
        self._found: Sequence[Said] = ()
        self._found_ns = -FRESH_NS
        self._looking: asyncio.Task[None] | None = None
        self._askers: dict[IPv4Address, int] = {}
        self._asking: _Asking | None = None
        self._one_at_a_time = asyncio.Lock()

    def receive(self, datagram: bytes, source: Source) -> bool:
        """Take a datagram; False for one of another kind. Bounded by the number of members."""
        if datagram[:1] not in findings_message.KINDS:
            return False
        member = self._members.by_ip.get(IPv4Address(source.number))
        said = findings_message.decode(datagram, _wall_ms(), self._key)
        if member is None or said is None:
            return True
        if isinstance(said, Question):
            self._askers[member.back_ip] = said.number
            self._begin()
        elif self._asking is not None and said.number == self._asking.number:
            answer = self._asking.answers.setdefault(member.back_ip, _Answer())
            answer.parts[said.part] = said
            if answer.is_whole:
                self._asking.news.set()
        return True

    async def ask_all(self, patience_s: float = PATIENCE_S) -> list[dict[str, Any]]:
        """What every server has found on itself, this one too, in order of back addresses.

        Returns when all have answered who are heard, at the latest after `patience_s` seconds.
        """
        async with self._one_at_a_time:
            self._asking = asking = _Asking(secrets.randbits(63))
            loop = asyncio.get_running_loop()
            until_s = loop.time() + patience_s
            try:
                self._begin()
                while loop.time() < until_s and (waits := self._waits_for(asking)):
                    self._ask(asking.number, waits)
                    await self._wait(asking, min(until_s, loop.time() + AGAIN_S))
                if self._looking is not None:
                    await asyncio.wait([self._looking])
                return [self._row(each, asking, patience_s) for each in self._in_order()]
            finally:
                self._asking = None

    def _in_order(self) -> list[Member]:
        return sorted(self._members.by_ip.values(), key=lambda member: member.back_ip)

    def _waits_for(self, asking: _Asking) -> list[Member]:
        """Who has not answered, as long as one of them is heard."""
        silent = [
            member
            for member in self._members.others()
            if member.back_ip not in asking.answers or not asking.answers[member.back_ip].is_whole
        ]
        now_ns = boottime_ns()
        return silent if any(member.age(now_ns) is Age.FRESH for member in silent) else []

    def _ask(self, number: int, members: Sequence[Member]) -> None:
        question = findings_message.encode(Question(number), _wall_ms(), self._key)
        for member in members:
            self._send(question, (str(member.back_ip), PORT))

    async def _wait(self, asking: _Asking, until_s: float) -> None:
        """Until all have answered who are heard, or until a moment of the loop's clock."""
        loop = asyncio.get_running_loop()
        while loop.time() < until_s and self._waits_for(asking):
            with suppress(TimeoutError):
                await asyncio.wait_for(asking.news.wait(), until_s - loop.time())
            asking.news.clear()

    def _begin(self) -> None:
        """Examine this server if that was not done just now, then tell those who asked."""
        if self._looking is not None:
            return
        if boottime_ns() - self._found_ns < FRESH_NS:
            self._answer()
        else:
            self._looking = self._tasks.spawn(self._examine())

    async def _examine(self) -> None:
        try:
            self._found = await asyncio.to_thread(self._look)
        except Exception as error:  # whatever is odd on this machine, its agent goes on
            log.exception("this server could not be examined")
            self._found = [Said("doctor", f"This server could not be examined: {error!r}.", False)]
        self._found_ns = boottime_ns()
        self._looking = None
        self._answer()

    def _answer(self) -> None:
        askers, self._askers = self._askers, {}
        for address, number in askers.items():
            for part in findings_message.answers(number, self._found):
                datagram = findings_message.encode(part, _wall_ms(), self._key)
                self._send(datagram, (str(address), PORT))

    def _row(self, member: Member, asking: _Asking, patience_s: float) -> dict[str, Any]:
        row: dict[str, Any] = {
            "server": member.state.server if member.state is not None else None,
            "back_address": str(member.back_ip),
        }
        answer = asking.answers.get(member.back_ip)
        if member is self._members.myself:
            said = findings_message.answers(asking.number, self._found)
        elif answer is not None and answer.is_whole:
            said = [part for _, part in sorted(answer.parts.items())]
        else:
            return row | {"answered": False, "why": self._why(member, patience_s), "findings": []}
        found = [one for part in said for one in part.findings]
        return row | {
            "answered": True,
            "why": "",
            "findings": [
                {"check": one.check, "message": one.message, "seen": one.seen} for one in found
            ],
            "left_out": said[0].left_out,
        }

    def _why(self, member: Member, patience_s: float) -> str:
        """Why a server has not answered, as far as that is known here."""
        now_ns = boottime_ns()
        begin = f"{member.back_ip}: "
        for trouble in self._members.troubles(now_ns):
            if trouble.text.startswith(begin):
                return trouble.text.removeprefix(begin)
        if member.state is None:
            return "it was never heard of: is its agent running, and does UDP 7077 reach it?"
        age = member.age(now_ns)
        if age is Age.FRESH:
            return f"it did not answer within {patience_s:.0f} s; run `ipos doctor` there"
        if age is Age.DOWN:
            return "it is down: look at the machine, its back interface and its agent"
        return "its agent is silent: start it, or run `ipos doctor` there"


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
