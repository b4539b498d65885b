# SPDX-License-Identifier: Apache-2.0
"""The rows of the data plane's maps as rows of Figure 12, for `ipos table` and `ipos status`.

They are read from the pinned maps and the last snapshot of what the members said; no agent is
needed.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from ipos.abi import rows
from ipos.abi.families import AnyTuple
from ipos.abi.layout import constant
from ipos.agent.host.paths import snapshot_file
from ipos.agent.rows.url_reader import installed, pool_of_service
from ipos.agent.snapshot import snapshot
from ipos.agent.snapshot.snapshot import Advertised, Snapshot
from ipos.agent.view.listening_view import sockets
from ipos.config.slots import is_slot
from ipos.ip_family import Address
from ipos.kernel import data_plane
from ipos.kernel.maps import Tables
from ipos.kernel.maps6 import Tables6
from ipos.kernel.pins import find_pin_directory
from ipos.tables import (
    ApplicationRow,
    CookieRow,
    EndpointRow,
    FlowRow,
    ForwardRow,
    NumberRow,
    Row,
    ServerRow,
    ServerState,
    UrlRow,
)
from ipos.wire.control import ControlFlags

_SECOND_NS = 1_000_000_000
_WORD = 0xFFFF_FFFF
STATES = {
    rows.ServerState.READY: ServerState.READY,
    rows.ServerState.DRAIN: ServerState.DRAIN,
    rows.ServerState.MAINT: ServerState.MAINT,
    rows.ServerState.DOWN: ServerState.DOWN,
}


@dataclass(frozen=True, slots=True)
class View:
    """All there is to look at. `now_ns` is the boottime clock at the time of looking."""

    tables: Tables
    snapshot: Snapshot
    now_ns: int

    def table(self, name: str) -> list[Row]:
        """The rows of a table by the name `ipos table` takes; KeyError for another."""
        return sorted(VIEWS[name](self), key=lambda row: tuple(map(str, row.key)))

    def families(self) -> list[Tables | Tables6]:
        """The tables of connections: of IPv4, and of IPv6 where its programs are loaded."""
        return [self.tables, self.tables.six] if self.tables.has_six else [self.tables]

    def servers(self) -> list[tuple[int, rows.Server]]:
        """Every server in use, by index."""
        return [
            (index, server)
            for index, server in self.tables.servers.items()
            if server.state is not rows.ServerState.NONE
        ]

    def age_s(self, then_ns: int) -> float:
        return round(max(0, self.now_ns - then_ns) / _SECOND_NS, 3)

    def wall_s(self, then_ns: int) -> float:
        """A time of the data plane as Unix time."""
        settings = self.tables.settings.get(0)
        offset = 0 if settings is None else settings.wall_offset_ns
        return max(0.0, round((then_ns + offset) / _SECOND_NS, 3))


def _forward(view: View) -> Iterator[Row]:
    for key, row in _both(view, "forward"):
        yield ForwardRow(
            client_ip=key.client_ip,
            client_port=key.client_port,
            service_ip=key.service_ip,
            service_port=key.service_port,
            destination_ip=row.destination_ip,
            destination_port=row.destination_port,
            acknowledged=row.acknowledged,
            packets=row.packets,
            last_seen=view.wall_s(row.last_seen_ns),
        )


def _flow(view: View) -> Iterator[Row]:
    for kept, table in ((True, view.tables.udp_flows), (False, view.tables.udp_new)):
        for key, row in table.items():
            yield FlowRow(
                client_ip=key.client_ip,
                client_port=key.client_port,
                service_ip=key.service_ip,
                service_port=key.service_port,
                destination_ip=row.destination_ip,
                destination_port=row.destination_port,
                state=row.state.name.lower(),
                kept=kept,
                packets=row.packets,
                last_seen=view.wall_s(row.last_seen_ns),
            )


def _both(view: View, name: str) -> Iterator[tuple[AnyTuple, Any]]:
    """The rows of a table, of both families."""
    for tables in view.families():
        yield from getattr(tables, name).items()


def _endpoints(view: View, name: str) -> Iterator[Row]:
    for key, row in _both(view, name):
        state, following = row.state.name.lower(), next_request(row)
        yield _endpoint(
            key, row.endpoint_ip, row.endpoint_port, row.cookie, row.hs, state, following
        )


def next_request(row: rows.Endpoint) -> int:
    """The sequence number that the connection's next request begins at, as far as it is known.

    Where requests are read, it is behind the request that was read last, or behind what is known of
    its body; else, and where there will be none, it is the next byte that our kernel expects.
    """
    if row.follow in (rows.Follow.NOT, rows.Follow.OPAQUE):
        return row.rcv_nxt or _first_byte(row.hs)
    return (row.request_end + row.body_left) & _WORD


def _first_byte(handshake: rows.Handshake) -> int:
    return (handshake.irs + 1) & _WORD


def _temporary(view: View) -> Iterator[Row]:
    """Unattached endpoints, those included of which we hold request bytes."""
    held: Mapping[AnyTuple, rows.Holding] = dict(_both(view, "holding"))
    open_ones: Mapping[AnyTuple, rows.Temporary] = dict(_both(view, "temporary"))
    for key in open_ones.keys() | held.keys():
        holding, temporary = held.get(key), open_ones.get(key)
        if holding is not None:
            reference, handshake, state = holding.created_ns, holding.hs, "held"
        elif temporary is not None:
            reference, handshake, state = 0, temporary.hs, temporary.state.name.lower()
        else:
            continue
        yield _endpoint(
            *(key, key.service_ip, key.service_port, reference, handshake, state),
            _first_byte(handshake),
        )


def _endpoint(
    key: AnyTuple,
    ip: Address,
    port: int,
    reference: int,
    handshake: rows.Handshake,
    state: str,
    following: int,
) -> EndpointRow:
    return EndpointRow(
        client_ip=key.client_ip,
        client_port=key.client_port,
        service_ip=key.service_ip,
        service_port=key.service_port,
        endpoint_ip=ip,
        endpoint_port=port,
        endpoint_reference=reference,
        iss=handshake.iss,
        options=ControlFlags(int(handshake.options)),
        state=state,
        next_request_sequence_number=following,
    )


def weights(view: View) -> dict[int, int]:
    """A server's weight, by its index, in the first pool that has it: services' own come first."""
    found: dict[int, int] = {}
    for _, pool in sorted(view.tables.pools.items()):
        for candidate in pool.candidates:
            found.setdefault(candidate.server, candidate.weight)
    return found


def _server(view: View) -> Iterator[Row]:
    known = weights(view)
    advertised = {server.index: server for server in view.snapshot.servers}
    for index, server in view.servers():
        yield ServerRow(
            server_ip=server.address,
            **_figures(server),
            state=_state(server, advertised.get(index)),
            weight=known.get(index, 1),
            age=view.age_s(server.updated_ns),
        )


def _listening(view: View) -> Iterator[Row]:
    services = view.tables.services
    ports: dict[int, list[tuple[int, str]]] = {}
    for index, name in enumerate(view.snapshot.services):
        service = services.get(index)
        if service is not None and service.used and service.protocol == rows.PROTOCOL_TCP:
            ports.setdefault(service.application_port, []).append((service.port, name))
    for server in view.snapshot.servers:
        if server.addresses:
            yield from sockets(server, ports)


def _application(view: View) -> Iterator[Row]:
    for server in view.snapshot.servers:
        for one in server.applications:
            yield ApplicationRow(
                process_id=one.pid,
                memory_required=one.memory,
                cpu_utilisation=one.cpu_permille / 1000,
                name=one.name,
                server=server.server,
            )


def _url(view: View) -> Iterator[Row]:
    """Every rule in use with the servers of its pool; last, those for what no rule fits."""
    addresses = {index: server.address for index, server in view.servers()}
    rules = installed(view.tables)
    pools: dict[int, tuple[rows.Candidate, ...]] = {}
    for index, name in enumerate(view.snapshot.services):
        service = view.tables.services.get(index)
        if service is None or not service.used:
            continue
        urls = {str(rule): pool for rule, pool in rules.get(index, [])}
        urls.setdefault("*/", pool_of_service(view.tables, index, service))
        for url, place in urls.items():
            if place not in pools:
                pool = view.tables.pools.get(place)
                pools[place] = pool.candidates if pool is not None else ()
            for candidate in pools[place]:
                yield UrlRow(
                    url=url,
                    server_ip=addresses.get(candidate.server, IPv4Address(0)),
                    service=name,
                    weight=candidate.weight,
                )


def _cookie(view: View) -> Iterator[CookieRow]:
    """Learned cookies by their values' hashes, and identified sessions by their identifiers.

    An inserted cookie names its server itself.
    """
    for key, row in view.tables.cookies.items():
        name = key.hash.to_bytes(8, sys.byteorder).hex() if row.turn else f"{key.hash:016x}"
        yield CookieRow(
            cookie_id=f"{name}:{key.service_port}",
            server_ip=row.server_ip,
            expiry=view.wall_s(row.expires_ns),
        )


def _number(view: View) -> Iterator[NumberRow]:
    names = {server.index: server.server for server in view.snapshot.servers}
    for key, index in view.tables.quic_numbers.items():
        service = view.tables.services.get(key.service)
        if service is not None and service.used:
            yield NumberRow(
                service_port=service.port,
                server=names.get(index, f"#{index}"),
                number=key.number.to_bytes(service.id_bytes, "big").hex(),
                first_byte=service.id_at,
            )


VIEWS: Mapping[str, Callable[[View], Iterable[Row]]] = {
    "forward": _forward,
    "local": lambda view: _endpoints(view, "local"),
    "forward-connect": lambda view: _endpoints(view, "connect"),
    "temporary": _temporary,
    "server": _server,
    "listening": _listening,
    "application": _application,
    "url": _url,
    "cookie": _cookie,
    "flow": _flow,
    "number": _number,
}


def open_view() -> View:
    """This server's, at this moment. NotLoaded when there is no data plane."""
    directory = find_pin_directory()
    data_plane.expect(directory, constant("IPOS_ABI"))
    said = snapshot.read(snapshot_file())
    return View(
        Tables(directory / "maps"),
        said if said.is_of(directory) else Snapshot(),
        time.clock_gettime_ns(time.CLOCK_BOOTTIME),
    )


def server_list(view: View) -> list[dict[str, Any]]:
    """The servers as this one sees them, keyed as `ipos status -o json` prints them."""
    advertised = {server.index: server for server in view.snapshot.servers}
    known = weights(view)
    found = []
    for index, server in view.servers():
        said = advertised.get(index)
        found.append(
            {
                "server": said.server if said else None,
                "state": str(_state(server, said)),
                "stale": server.stale,
                "weight": known.get(index, 1),
                "weight_set": (said.weight or None) if said else None,
                "address": str(server.address),
                "back_address": str(server.back_ip),
                **_figures(server),
                "services": said.services if said else [],
                "age": view.age_s(server.updated_ns),
                "fault": (said.fault or None) if said else None,
            }
        )
    return found


def _figures(server: rows.Server) -> dict[str, Any]:
    found = {}
    for column, (name, divisor) in ServerRow.FIGURES.items():
        number = getattr(server, name)
        found[column] = number if divisor == 1 else number / divisor
    return found


def _state(server: rows.Server, said: Advertised | None) -> ServerState:
    """A server that a fault keeps from serving is out, and in maintenance only by an order."""
    is_out = said is not None and said.fault and server.state is rows.ServerState.MAINT
    return ServerState.OUT if is_out else STATES[server.state]


def service_list(view: View) -> list[dict[str, Any]]:
    """The services and who may serve them, keyed as `ipos status -o json` prints them."""
    found = []
    addresses = {
        index: str(server.address)
        for index, server in view.servers()
        if server.state is not rows.ServerState.DOWN
    }
    for index, name in enumerate(view.snapshot.services):
        service = view.tables.services.get(index)
        if service is None or not service.used:
            continue
        pool = view.tables.pools.get(service.pool)
        if pool is None or (is_slot(name) and not pool.candidates):
            continue
        found.append(
            {
                "service": name,
                "port": service.port,
                "select": service.select.name.lower(),
                "policy": pool.policy.name.lower().replace("_", "-"),
                "application": f"{service.application_ip}:{service.application_port}",
                "servers": [
                    addresses[one.server] for one in pool.candidates if one.server in addresses
                ],
            }
        )
    return found
