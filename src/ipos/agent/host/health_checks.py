# SPDX-License-Identifier: Apache-2.0
"""Checks whether this server's own applications work. No server checks another's.

A check gets an answer from the application (HTTP and HTTPS: 2xx or 3xx, unless it is configured
otherwise; else an accepted connection), or it fails and keeps the reason. `fall` failures in a row
make an application down, `rise` successes make it up again; the very first result counts at once,
so that a start does not take longer. `Health` is this rule and is pure; `Checks` runs one task for
each service that has a check.

A service that was up stays up until its check has failed, across a new configuration and a new
agent: no server is taken out because its application has not been checked yet.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import structlog

from ipos.agent.network.wired_namespaces import Seat
from ipos.config.health_check import Check
from ipos.config.listener import Listener
from ipos.config.schema import Service

if TYPE_CHECKING:  # the import takes its time, and few have a check by HTTPS
    import ssl

TIMEOUT_S = 2.0
_LOOPBACK = IPv4Address("127.0.0.1")
_STATUS_LINE_MAX = 256
_TLS_ALERTS = (b"\x15\x03", b"\x16\x03")
"""How what speaks TLS begins to answer what does not."""

Inside = Callable[[str], tuple[Listener, Seat] | None]
"""Of a service by name: where its application listens in a container, and where that is."""

Starting = Callable[[str], bool | None]

STARTING_S = 0.05
"""Between two checks of an application that is being started."""

log = structlog.get_logger()


class Health:
    """Rise and fall counts of one check."""

    def __init__(self, rise: int, fall: int, up: bool | None = None) -> None:
        """`up`: the state that was found, None when it is unknown."""
        self._rise = rise
        self._fall = fall
        self._streak = 0
        self.up = up
        self.trouble = ""

    def forget(self) -> None:
        """It is another application from now on, or none."""
        self.up, self._streak, self.trouble = None, 0, ""

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
        """`well`: names of services that an earlier agent has found healthy."""
        self._known = set(well)
        self._health: dict[str, Health] = {}
        self._tasks: dict[str, tuple[Service, asyncio.Task[None]]] = {}
        self.inside: Inside = lambda _: None
        """Where the application of a service is asked that is in a container."""
        self.starting: Starting = lambda _: None
        """Whether a service's application is being started, or does not run; None: else."""

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
                task = asyncio.create_task(_repeat(service, service.check, health, self))
                self._tasks[name] = service, task

    def well(self, name: str) -> bool:
        """Whether a service counts as up; a service without a check always does."""
        health = self._health.get(name)
        return health is None or health.up is True

    def troubles(self) -> dict[str, str]:
        """What is wrong with the services that are not healthy."""
        return {
            name: health.trouble
            for name, health in self._health.items()
            if health.up is False and health.trouble
        }

    def states(self) -> dict[str, str]:
        """Every service that is checked: what is wrong with it, "" when it is well."""
        unknown = "not asked often enough yet"
        return {
            name: "" if health.up else health.trouble or unknown
            for name, health in self._health.items()
        }

    def stop(self) -> None:
        self.converge(())


async def _repeat(service: Service, check: Check, health: Health, checks: Checks) -> None:
    context = None
    if check.https is not None:  # in a thread: the machine's certificates are read from its disk
        context = await asyncio.to_thread(_tls, verify=check.verify)
    while True:
        if checks.starting(service.name) is not None:
            await _ask_beginner(service, check, context, health, checks)
            continue
        before = health.up
        inside = checks.inside(service.name)
        listener, seat = inside if inside is not None else (service.listener, None)
        health.trouble = await trouble(listener, check, context, seat)
        health.result(not health.trouble)
        if health.up and before is False:
            log.warning("application is well again", service=service.name)
        elif health.up is False and before is not False:
            log.warning("application is not well", service=service.name, reason=health.trouble)
        await asyncio.sleep(check.interval_ms / 1000)


async def _ask_beginner(
    service: Service,
    check: Check,
    context: "ssl.SSLContext | None",
    health: Health,
    checks: Checks,
) -> None:
    """Of one that is being started the first good answer counts, and no bad one."""
    if not checks.starting(service.name):
        health.forget()
    elif not health.up:
        why = await trouble(service.listener, check, context)
        health.forget()
        health.up, health.trouble = True if not why else None, why
    await asyncio.sleep(STARTING_S)


async def trouble(
    listener: Listener,
    check: Check,
    context: "ssl.SSLContext | None" = None,
    seat: Seat | None = None,
) -> str:
    """One check of an application, which has two seconds for it: what is wrong, else nothing.

    context: for HTTPS. seat: of the container that it is in.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await _ask(listener, check, context, seat)
    except TimeoutError:
        return f"it did not answer within {TIMEOUT_S:.0f} s"
    except OSError as error:  # TLS's own faults are such, and those of certificates both
        return f"{listener}: {error.strerror or error}"
    except ValueError:
        return "its answer begins with a line that is too long for HTTP"


def _tls(*, verify: bool) -> "ssl.SSLContext":
    """Without verify any certificate is taken: it is our own application that is asked."""
    import ssl

    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _made_inside(seat: Seat | None) -> socket.socket:
    """A socket belongs to the network namespace that it was made in."""
    kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    with nullcontext() if seat is None else seat.entered():
        return socket.socket(socket.AF_INET, kind)


async def _connected(ip: IPv4Address, port: int, seat: Seat | None) -> socket.socket:
    made = _made_inside(seat) if seat is None else await asyncio.to_thread(_made_inside, seat)
    try:
        # If the application has a service address, this says that ours is meant: sock/lookup.bpf.c
        made.bind((str(_LOOPBACK), 0))
        await asyncio.get_running_loop().sock_connect(made, (str(ip), port))
    except BaseException:
        made.close()
        raise
    return made


async def _ask(
    listener: Listener, check: Check, context: "ssl.SSLContext | None", seat: Seat | None
) -> str:
    ip = _LOOPBACK if listener.ip == IPv4Address(0) else listener.ip
    host = check.host or str(ip)
    reader, writer = await asyncio.open_connection(
        sock=await _connected(ip, listener.port, seat),
        limit=_STATUS_LINE_MAX,
        ssl=context,
        server_hostname=None if context is None else host.partition(":")[0],
    )
    try:
        if check.path is None:
            return ""
        # HTTP/1.0: one answer, and the application closes.
        request = f"GET {check.path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: ipos\r\n\r\n"
        writer.write(request.encode("ascii"))
        return _wrong(await reader.readline(), check)
    finally:
        writer.transport.abort()  # a goodbye of TLS would be waited for


def _wrong(line: bytes, check: Check) -> str:
    """What is wrong with the first line of an answer, empty when nothing is."""
    version, _, rest = line.partition(b" ")
    if line[:2] in _TLS_ALERTS:
        return f'it speaks TLS; say check = {{ https = "{check.path}" }}'
    if not line:
        return "it closed the connection without an answer"
    if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
        return "its answer is no HTTP/1"
    if int(rest[:3]) in check.statuses:
        return ""
    said = f"it answered {rest[:3].decode()}, not {check.status}"
    if rest[:3] == b"400" and check.http is not None:  # as nginx says it
        return f'{said}; if it speaks TLS, say check = {{ https = "{check.path}" }}'
    return said
