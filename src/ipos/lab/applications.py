# SPDX-License-Identifier: Apache-2.0
"""Starts the applications of a server, and waits until they accept connections.

Every application but the user's own command is in one cgroup of the server, `app`, and all of them
are started and ended together.
"""

import os
import select
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ipos.lab import cgroups, nginx, pattern
from ipos.lab.configuration import Service
from ipos.lab.errors import LabError
from ipos.lab.places import Place, tail_of

START_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 60.0
"""For the user's own command, which may be as slow as a Java server on a busy machine."""
_HTTP_ADDRESSES = ("0.0.0.0:80", "127.0.0.1:8080")
_GREETING_ADDRESS = "0.0.0.0:25"


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server's applications listen, as "address:port"."""

    http: tuple[str, ...]
    speak_first: tuple[str, ...]


def with_ipv6(where: Listening) -> Listening:
    """The same, and on the same ports of IPv6: on any address, or on loopback."""
    http, speak_first = (
        tuple(each for one in listed for each in (one, *_six_of(one)))
        for listed in (where.http, where.speak_first)
    )
    return Listening(http, speak_first)


def _six_of(address: str) -> tuple[str, ...]:
    host, _, port = address.rpartition(":")
    place = {"0.0.0.0": "[::]", "127.0.0.1": "[::1]"}.get(host)
    return () if place is None else (f"{place}:{port}",)


def listening(services: Sequence[Service]) -> Listening:
    """Where to listen so that every TCP service of the farm has an application.

    A service that selects on connection gets the application that speaks first, any other HTTP.
    Added to the services' addresses: HTTP on port 80 and on 127.0.0.1:8080, greeting on port 25.
    """
    kinds: dict[str, bool] = {}
    for service in services:
        if service.protocol == "tcp":
            kinds.setdefault(service.application, service.select == "connection")
    taken = {address.rpartition(":")[2] for address in kinds}
    for address in (*_HTTP_ADDRESSES, _GREETING_ADDRESS):
        if address.rpartition(":")[2] not in taken:
            kinds[address] = address == _GREETING_ADDRESS
    wildcard = {address for address in kinds if address.startswith("0.0.0.0:")}
    addresses = [
        address
        for address in kinds
        # A wildcard address covers its port for all addresses; both cannot be bound.
        if address in wildcard or f"0.0.0.0:{address.rpartition(':')[2]}" not in wildcard
    ]
    return Listening(
        tuple(address for address in addresses if not kinds[address]),
        tuple(address for address in addresses if kinds[address]),
    )


def start(
    places: Sequence[Place], app: str, services: Sequence[Service], *, ipv6: bool = False
) -> None:
    """Start the applications of these servers; they accept on return.

    app: "nginx", "builtin", "none" or a shell command. LabError, with the end of the log, if one
    fails.
    """
    where = listening(services)
    if ipv6:
        where = with_ipv6(where)
    if app == "nginx":
        files = pattern.make_files()
        _start_builtin(places, http=(), speak_first=where.speak_first, unix=True)
        for place in places:
            nginx.start(place, where.http, _socket_of(place), files)
    elif app == "none":
        return
    elif app == "builtin":
        _start_builtin(places, where.http, where.speak_first, unix=False)
    else:
        # What the command listens on is its own affair, unless the farm's services need a port.
        wanted = {service.application for service in services}
        greeting = tuple(address for address in where.speak_first if address in wanted)
        if greeting:
            _start_builtin(places, http=(), speak_first=greeting, unix=False)
        ports = {int(each.rpartition(":")[2]) for each in where.http if each in wanted}
        _start_command(places, app, ports)


def _socket_of(place: Place) -> Path:
    return place.run_dir / "builtin.sock"


def _start_builtin(
    places: Sequence[Place], http: Sequence[str], speak_first: Sequence[str], unix: bool
) -> None:
    """Start the built-in application everywhere, then wait until every one is bound."""
    pipes: list[tuple[Place, int]] = []
    try:
        for place in places:
            command = [sys.executable, "-m", "ipos.lab.application", "--name", place.node]
            for address in http:
                command += ["--listen", address]
            for address in speak_first:
                command += ["--speak-first", address]
            if unix:
                _socket_of(place).unlink(missing_ok=True)
                command += ["--unix", str(_socket_of(place))]
            ready, told = os.pipe()
            pipes.append((place, ready))
            try:
                command += ["--ready-fd", str(told)]
                place.spawn(command, place.app_cgroup, _log_of(place), pass_fds=(told,))
            finally:
                os.close(told)
        for place, ready in pipes:
            readable, _, _ = select.select([ready], [], [], START_TIMEOUT_S)
            if not readable or not os.read(ready, 1):  # an empty read: it died
                raise LabError(
                    f"the built-in application of {place.node} did not start"
                    f"{tail_of(_log_of(place))}"
                )
    finally:
        for _, ready in pipes:
            os.close(ready)


def _start_command(places: Sequence[Place], command: str, ports: set[int]) -> None:
    """Run the user's command everywhere, and wait until it listens on all of `ports`."""
    for place in places:
        place.spawn(["sh", "-c", command], place.app_cgroup / "command", _log_of(place))
    deadline = time.monotonic() + COMMAND_TIMEOUT_S
    for place in places:
        while not ports <= (found := _listening_ports(place)):
            missing = " and ".join(str(port) for port in sorted(ports - found))
            if not cgroups.populated(place.app_cgroup / "command"):
                raise LabError(
                    f"{command!r} ended in {place.node} without listening on TCP port {missing}"
                    f"{tail_of(_log_of(place))}"
                )
            if time.monotonic() > deadline:
                raise LabError(
                    f"{command!r} in {place.node} does not listen on TCP port {missing} after "
                    f"{COMMAND_TIMEOUT_S:.0f} s{tail_of(_log_of(place))}"
                )
            time.sleep(0.02)  # nothing tells of a socket of another process that begins to listen


def _listening_ports(place: Place) -> set[int]:
    """TCP ports with a listener in the node, seen through any of its application's processes."""
    ports: set[int] = set()
    for pid in cgroups.processes(place.app_cgroup)[:1]:
        for table in ("tcp", "tcp6"):
            try:
                lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
            except OSError:
                continue  # it ended meanwhile, or the kernel has no IPv6
            for fields in map(str.split, lines):
                if fields[3] == "0A":  # TCP_LISTEN
                    ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def _log_of(place: Place) -> Path:
    return place.run_dir / "app.log"
