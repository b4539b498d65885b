# SPDX-License-Identifier: Apache-2.0
"""Whether this server's own applications are well. No server asks another's.

A check either gets an answer from the application (HTTP: 2xx or 3xx; else an accepted connection)
or fails. `fall` failures in a row make it down, `rise` successes make it up again; the very first
result counts at once, so that a start needs no patience. `Health` is that rule and pure; `Checks`
runs one task for each service that has a check.

A service that was well stays so until its check has failed, over a new configuration and a new
agent: no server is taken out because nobody has asked its application yet.
"""

import asyncio
from collections.abc import Iterable
from ipaddress import IPv4Address

from ipos.config.schema import Check, Listener, Service

TIMEOUT_S = 2.0
_LOOPBACK = IPv4Address("127.0.0.1")
_STATUS_LINE_MAX = 256


class Health:
    """Rise and fall counts of one check."""

    def __init__(self, rise: int, fall: int, up: bool | None = None) -> None:
        """`up`: as it was found, None when nobody knows."""
        self._rise = rise
        self._fall = fall
        self._streak = 0
        self.up = up

    def result(self, good: bool) -> None:
        """Take one check's outcome."""
        if self.up is None:
            self.up = good
        elif good == self.up:
            self._streak = 0
        else:
            self._streak += 1
            if self._streak >= (self._rise if good else self._fall):
                self.up = good
                self._streak = 0


class Checks:
    """The checks of all services that have one, as tasks of the running loop."""

    def __init__(self, well: Iterable[str] = ()) -> None:
        """`well`: names of services that an agent before us has found so."""
        self._known = set(well)
        self._health: dict[str, Health] = {}
        self._tasks: dict[str, tuple[Service, asyncio.Task[None]]] = {}

    def converge(self, services: Iterable[Service]) -> None:
        """Run exactly these services' checks; one that has not changed goes on as it is."""
        fresh = {service.name: service for service in services}
        wanted = {name: service for name, service in fresh.items() if service.check is not None}
        before = {name: self.well(name) or None for name in self._known}
        self._known = set(fresh)
        for name, (service, task) in list(self._tasks.items()):
            if wanted.get(name) != service:
                task.cancel()
                del self._tasks[name], self._health[name]
        for name, service in wanted.items():
            if name not in self._tasks and service.check is not None:
                rise, fall = service.check.rise, service.check.fall
                health = self._health[name] = Health(rise, fall, before.get(name))
                task = asyncio.create_task(_repeat(service.listener, service.check, health))
                self._tasks[name] = service, task

    def well(self, name: str) -> bool:
        """Whether a service may be said to be up; one without a check always."""
        health = self._health.get(name)
        return health is None or health.up is True

    def stop(self) -> None:
        self.converge(())


async def _repeat(listener: Listener, check: Check, health: Health) -> None:
    while True:
        health.result(await answers(listener, check))
        await asyncio.sleep(check.interval_ms / 1000)


async def answers(listener: Listener, check: Check) -> bool:
    """One check of an application, which has two seconds for it."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await _ask(listener, check)
    except (OSError, ValueError, TimeoutError):
        return False


async def _ask(listener: Listener, check: Check) -> bool:
    host = _LOOPBACK if listener.ip == IPv4Address(0) else listener.ip
    reader, writer = await asyncio.open_connection(str(host), listener.port, limit=_STATUS_LINE_MAX)
    try:
        if check.http is None:
            return True
        # HTTP/1.0: one answer, and the application closes.
        request = f"GET {check.http} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: ipos\r\n\r\n"
        writer.write(request.encode("ascii"))
        version, _, rest = (await reader.readline()).partition(b" ")
        return version.startswith(b"HTTP/1.") and rest[:1] in (b"2", b"3")
    finally:
        writer.close()
