# SPDX-License-Identifier: Apache-2.0
"""Figure 12: what each server says of itself: its state, its listening sockets, its
applications."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from ipos.tables.row import Address, Count, Fraction, Port, ProcessId, Row, Seconds, Weight


class ServerState(StrEnum):
    """Whether a server is chosen."""

    READY = "ready"
    DRAIN = "drain"  # keeps what it has, gets nothing new
    MAINT = "maint"  # taken out by its operator
    DOWN = "down"  # not heard of
    OUT = "out"  # heard of, and a fault keeps it from serving


class Health(StrEnum):
    """What the server's own check says of an application; one without a check is up.

    "mptcp": it listens with MPTCP, so it takes no connection of the farm. "syn": it does, and takes
    connections by their SYNs. "outside": its socket is not of the cgroup IPOS_CGROUP, so it takes
    none.
    """

    UP = "up"
    DOWN = "down"
    MPTCP = "mptcp"
    SYN = "syn"
    OUTSIDE = "outside"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRow(Row):
    """Server state: what selection knows of one server."""

    KEY: ClassVar[tuple[str, ...]] = ("server_ip",)
    FIGURES: ClassVar[dict[str, tuple[str, int]]] = {
        "tcp_connections": ("tcp_connections", 1),
        "cpu_utilisation": ("cpu_permille", 1000),
        "available_memory": ("memory_available", 1),
        "available_bandwidth": ("bandwidth_available", 1),
    }
    """Columns that are a member of the data plane's row, divided by a number."""

    server_ip: Address
    tcp_connections: Count  # established
    cpu_utilisation: Fraction  # of the main board, all cores
    available_memory: Count  # bytes: the least that one of its applications could still get
    available_bandwidth: Count  # bits per second, in the direction that is fuller
    state: ServerState
    weight: Weight
    age: Seconds  # since the server said so


@dataclass(frozen=True, slots=True, kw_only=True)
class ListeningRow(Row):
    """Listening sockets: an application ready for connections.

    A socket that serves no service has its own port as the advertised one, too.
    """

    KEY: ClassVar[tuple[str, ...]] = ("server_ip", "tcp_port")

    server_ip: Address
    tcp_port: Port  # advertised: clients connect to it
    process: ProcessId | None  # in Application information; None: its process is hidden
    health: Health
    application_port: Port  # where the process listens
    container: str | None = None  # that the process is in, as its engine calls it; None: in none


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationRow(Row):
    """Application information: what a listening process and its children need.

    The figure's key is the process alone; servers number their processes independently.
    """

    KEY: ClassVar[tuple[str, ...]] = ("server", "process_id")

    server: str  # the server's name
    process_id: ProcessId
    memory_required: Count  # bytes: the most that they have had at once
    cpu_utilisation: Fraction  # of the main board, all cores
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberRow(Row):
    """The number by which connection IDs of a service of QUIC name a server."""

    KEY: ClassVar[tuple[str, ...]] = ("service_port", "server")

    service_port: Port
    server: str
    number: str  # in hexadecimal, as its bytes stand in a connection ID
    first_byte: Count  # bytes of the connection ID that are before them
