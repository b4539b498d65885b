# SPDX-License-Identifier: Apache-2.0
"""The pinned maps as the tables of Figure 12, in the figure's columns.

Reads maps, so it works with the agent dead. What no map holds, the services' names and the servers'
listening sockets, comes from the last that was advertised, when the caller has it.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ipos.inic import rows
from ipos.inic.maps import Tables
from ipos.tables import (
    CookieRow,
    EndpointRow,
    ForwardRow,
    Health,
    ListeningRow,
    Row,
    ServerRow,
    ServerState,
    UrlRow,
)
from ipos.wire.control import ControlFlags

_NS: Final = 1e9


@dataclass(frozen=True, slots=True)
class Advertised:
    """What the servers said that no map holds: services by index, sockets by server's index.

    A socket is (port, process id); 0 for a process that is hidden.
    """

    services: tuple[str, ...] = ()
    sockets: Mapping[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)


def forward(tables: Tables, said: Advertised) -> Iterator[Row]:
    to_unix_ns = _boot_ns()
    for key, row in tables.forward.items():
        yield ForwardRow(
            client_ip=key.client_ip,
            client_port=key.client_port,
            service_ip=key.service_ip,
            service_port=key.service_port,
            destination_ip=row.destination_ip,
            destination_port=row.destination_port,
            acknowledged=row.acknowledged,
            packets=row.packets,
            last_seen=(row.last_seen_ns + to_unix_ns) / _NS,
        )


def local(tables: Tables, said: Advertised) -> Iterator[Row]:
    return (_endpoint(key, row) for key, row in tables.local.items())


def forward_connect(tables: Tables, said: Advertised) -> Iterator[Row]:
    return (_endpoint(key, row) for key, row in tables.connect.items())


def temporary(tables: Tables, said: Advertised) -> Iterator[Row]:
    """Unattached endpoints; one whose request is held refers to it by its bytes held so far."""
    held = dict(tables.holding.items())
    for key, row in tables.temporary.items():
        if key not in held:
            yield _unattached(key, row.hs, row.state.name.lower(), 0)
    for key, request in held.items():
        yield _unattached(key, request.hs, "held", request.held)


def server(tables: Tables, said: Advertised) -> Iterator[Row]:
    now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    weights = {
        candidate.server: candidate.weight
        for _, pool in tables.pools.items()
        for candidate in pool.candidates
    }
    for index, row in known_servers(tables).items():
        yield ServerRow(
            server_ip=row.address,
            tcp_connections=row.tcp_connections,
            cpu_utilisation=min(row.cpu_permille, 1000) / 1000,
            available_memory=row.memory_available,
            available_bandwidth=row.bandwidth_available,
            state=ServerState(row.state.name.lower()),
            weight=weights.get(index, 0),
            age=max(0, now_ns - row.updated_ns) / _NS,
        )


def listening(tables: Tables, said: Advertised) -> Iterator[Row]:
    """Listening sockets; an application that is down has left its service's pool."""
    candidates = {
        (candidate.server, candidate.port)
        for _, pool in tables.pools.items()
        for candidate in pool.candidates
    }
    checked = {s.application_port for _, s in tables.services.items() if s.used}
    servers = known_servers(tables)
    found = dict.fromkeys(candidates, 0)
    found |= {(index, port): pid for index, each in said.sockets.items() for port, pid in each}
    for (index, port), pid in sorted(found.items()):
        if index in servers:
            up = (index, port) in candidates or port not in checked
            yield ListeningRow(
                server_ip=servers[index].address,
                tcp_port=port,
                process=pid or None,
                health=Health.UP if up else Health.DOWN,
            )


def url(tables: Tables, said: Advertised) -> Iterator[Row]:
    """Every service's candidates. A service whose name nobody has said is called by its port."""
    servers = known_servers(tables)
    for index, service in tables.services.items():
        pool = tables.pools.get(service.pool) if service.used else None
        named = index < len(said.services)
        for candidate in pool.candidates if pool else ():
            if candidate.server in servers:
                yield UrlRow(
                    url="*/",
                    server_ip=servers[candidate.server].address,
                    service=said.services[index] if named else f"port {service.port}",
                    weight=candidate.weight,
                )


def cookie(tables: Tables, said: Advertised) -> Iterator[CookieRow]:
    """No map holds cookies yet: every service selects by load."""
    return iter(())


READERS: Final[dict[str, Callable[[Tables, Advertised], Iterator[Row]]]] = {
    "forward": forward,
    "local": local,
    "forward-connect": forward_connect,
    "temporary": temporary,
    "server": server,
    "listening": listening,
    "url": url,
    "cookie": cookie,
}


def known_servers(tables: Tables) -> dict[int, rows.Server]:
    """The rows of Server state in use, by index."""
    return {
        index: row
        for index, row in tables.servers.items()
        if row.state is not rows.ServerState.NONE
    }


def _boot_ns() -> int:
    """What is added to the boottime clock to have Unix time, in nanoseconds."""
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _endpoint(key: rows.Tuple, row: rows.Endpoint) -> EndpointRow:
    return EndpointRow(
        client_ip=key.client_ip,
        client_port=key.client_port,
        service_ip=key.service_ip,
        service_port=key.service_port,
        endpoint_ip=row.endpoint_ip,
        endpoint_port=row.endpoint_port,
        endpoint_reference=row.cookie,
        iss=row.hs.iss,
        options=ControlFlags(int(row.hs.options)),
        state=row.state.name.lower(),
        next_request_sequence_number=None,
    )


def _unattached(key: rows.Tuple, hs: rows.Handshake, state: str, reference: int) -> EndpointRow:
    return EndpointRow(
        client_ip=key.client_ip,
        client_port=key.client_port,
        service_ip=key.service_ip,
        service_port=key.service_port,
        endpoint_ip=key.service_ip,
        endpoint_port=key.service_port,
        endpoint_reference=reference,
        iss=hs.iss,
        options=ControlFlags(int(hs.options)),
        state=state,
        next_request_sequence_number=None,
    )
