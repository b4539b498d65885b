# SPDX-License-Identifier: Apache-2.0
"""Figure 12: the Forward table, and the one shape of Local, Forward-Connect and Temporary.

The figure keys Forward by the client alone and the others by client and endpoint. One client port
may reach two services, and an endpoint may move, so the key of all four is client and service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ipos.tables.row import Address, Count, Port, Row, Seconds, SequenceNumber
from ipos.wire.control import ControlFlags


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRow(Row):
    """The key: the client, and the service address it connected to, of one address family."""

    KEY: ClassVar[tuple[str, ...]] = ("client_ip", "client_port", "service_ip", "service_port")

    client_ip: Address
    client_port: Port
    service_ip: Address
    service_port: Port

    def __post_init__(self) -> None:
        Row.__post_init__(self)
        if self.client_ip.version != self.service_ip.version:
            raise ValueError(
                f"{type(self).__name__}: client {self.client_ip} and service {self.service_ip} "
                "are of different address families"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardRow(ConnectionRow):
    """At the first server: where the packets of a connection go that another server owns."""

    destination_ip: Address  # the endpoint on the owner, as in the ipOS header
    destination_port: Port
    acknowledged: bool  # the migration acknowledgement came: the owner is chosen for good
    packets: Count  # forwarded so far
    last_seen: Seconds  # Unix time of the last of them


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRow(ConnectionRow):
    """The server side of one connection, attached to an application or not yet."""

    endpoint_ip: Address  # while unattached, the service address itself
    endpoint_port: Port
    endpoint_reference: Count  # socket cookie; while unattached, the held request; 0 for neither
    iss: SequenceNumber
    options: ControlFlags
    state: str
    next_request_sequence_number: SequenceNumber  # the next request begins here, and not before


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRow(ConnectionRow):
    """At the first server: where the datagrams of a UDP flow go, be it to this server itself."""

    destination_ip: Address  # the first service address of the server that answers
    destination_port: Port  # the application's there
    state: str  # offered, acknowledged, answered or refused
    kept: bool  # no other flow can take its place
    packets: Count  # datagrams so far
    last_seen: Seconds  # Unix time of the last of them
