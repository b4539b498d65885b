# SPDX-License-Identifier: Apache-2.0
"""The data plane's rows of endpoints that migrate with state: read here, changed by its program.

An order is a frame that the agent runs through the program of ingress (`struct ipos_order`). The
program does it in one step under the connection's lock, or not at all.
"""

import os
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

from ipos.abi.columns import Columns
from ipos.abi.layout import constant, layout
from ipos.abi.rows import Settings
from ipos.agent.endpoints.transfer_message import Attempt
from ipos.agent.expiry.expiry_rules import HANDSHAKE, Handshake
from ipos.closing import Closing
from ipos.errors import IposError
from ipos.kernel.hooks import Hook, open_pin
from ipos.kernel.libbpf import syscall
from ipos.kernel.libbpf.map_store import Map
from ipos.wire import Header, PacketType, Protocol, header

FREEZE, THAW, GIVE = (constant(f"IPOS_ORDER_{name}") for name in ("FREEZE", "THAW", "GIVE"))
TAKE, LIVE, DROP = (constant(f"IPOS_ORDER_{name}") for name in ("TAKE", "LIVE", "DROP"))
MARK_FROZEN = constant("IPOS_MARK_FROZEN")
_MARK_ORDER = constant("IPOS_MARK_ORDER")
_SHAPE = layout("ipos_order")
_SK_BUFF_LEN, _SK_BUFF_MARK = 192, 8
_DONE = 4  # TC_ACT_STOLEN
_ROOM = 256
_VLAN = 0x8100
ATTACHED, PREPARED = constant("IPOS_EP_ATTACHED"), constant("IPOS_EP_PREPARED")
FROZEN, _BOXED = constant("IPOS_EP_FROZEN"), constant("IPOS_EP_BOXED")
_BUSY = constant("IPOS_EP_MOVING") | constant("IPOS_EP_WAITING")
_UNREAD = constant("IPOS_FOLLOW_NOT"), constant("IPOS_FOLLOW_OPAQUE")
_NO_LINE = constant("IPOS_INSERT_NONE"), constant("IPOS_INSERT_DONE")
_LINE_LENGTH = struct.Struct("=4xH")


class Endpoint(NamedTuple):
    """Of `struct ipos_endpoint`."""

    state: int
    flags: int
    service: int
    client_fin_seen: int
    server_fin_seen: int
    insert: int
    follow: int
    first: int
    giver: int
    hs: bytes
    endpoint_ip: bytes
    cookie: int
    migration: int
    endpoint_port: bytes
    line: bytes

    @property
    def handshake(self) -> Handshake:
        return HANDSHAKE.read(self.hs)


class Gone(NamedTuple):
    """Of `struct ipos_left`."""

    migration: int
    iss: int
    server: int


class Sent(NamedTuple):
    """Of `struct ipos_forward`."""

    server: int
    iss: int
    migration: int


ENDPOINT = Columns("ipos_endpoint", Endpoint._fields, Endpoint._make)
_LEFT = Columns("ipos_left", Gone._fields, Gone._make)
_FORWARD = Columns("ipos_forward", Sent._fields, Sent._make)


def obstacle(row: Endpoint | None) -> str:
    """Why an endpoint cannot be frozen now; "" when nothing is in the way."""
    if row is None:
        return "the farm has no such connection here"
    if row.state != ATTACHED or row.flags & (_BUSY | FROZEN):
        return "the connection is migrating already"
    if row.client_fin_seen or row.server_fin_seen:
        return "the connection is closing, and such a one does not migrate"
    if row.flags & _BOXED:
        return "the application is in a container, and sockets there cannot migrate yet"
    if row.insert not in _NO_LINE or _LINE_LENGTH.unpack_from(row.line)[0]:
        return (
            "the farm has added a session's cookie to what the client has read, so the kernel's "
            "sequence numbers are not the client's"
        )
    if row.follow not in _UNREAD:
        return (
            "the farm reads the requests of this connection and moves it between two of them; "
            'only services with decide = "connection", and connections after an upgrade, migrate '
            "with state"
        )
    return ""


def key_of(attempt: Attempt) -> bytes:
    """Of the tables of connections. IPv4."""
    ports = struct.pack(">HH", attempt.client_port, attempt.service_port)
    return attempt.client_ip + attempt.service_ip + ports + bytes((socket.IPPROTO_TCP, 0, 0, 0))


class Rows(Closing):
    """Opened inside the server's network namespace; `maps` are the data plane's."""

    def __init__(self, maps: Path, settings: Callable[[], Settings | None]) -> None:
        self._programs = maps.parent / "progs"
        self._settings = settings
        names = ("local", "connect", "left_behind", "forward")
        self._maps = {name: Map.open(maps / name) for name in names}

    def endpoint(self, key: bytes) -> Endpoint | None:
        raw = self._maps["local"].get(key) or self._maps["connect"].get(key)
        return None if raw is None else ENDPOINT.read(raw)

    def went_to(self, attempt: Attempt, server: int) -> bool:
        """Whether the endpoint went to that server by this attempt, whoever made it."""
        key = key_of(attempt)
        raw = self._maps["left_behind"].get(key)
        if raw is not None and _is_by(_LEFT.read(raw), attempt, server):
            return True
        raw = self._maps["forward"].get(key)
        return raw is not None and _is_by(_FORWARD.read(raw), attempt, server)

    def frozen(self) -> list[tuple[bytes, Endpoint]]:
        """All endpoints that stand still, with their keys: what an agent has left."""
        found = []
        for name in ("local", "connect"):
            for key, raw in self._maps[name].items():
                row = ENDPOINT.read(raw)
                if row.flags & FROZEN:
                    found.append((key, row))
        return found

    def of_client(self, client_ip: bytes, client_port: int) -> list[tuple[bytes, Endpoint]]:
        """The endpoints of a client's address and port."""
        port = client_port.to_bytes(2, "big")
        return [
            (key, ENDPOINT.read(raw))
            for name in ("local", "connect")
            for key, raw in self._maps[name].items()
            if key[:4] == client_ip and key[8:10] == port
        ]

    def order(
        self,
        kind: int,
        attempt: Attempt,
        endpoint: tuple[bytes, int] = (bytes(4), 0),
        **fields: int,
    ) -> bool:
        """Whether it was done. endpoint: where it is, or is to be: first service address of the
        server, port of the application. `fields` of `struct ipos_order`. OSError, PinError."""
        settings = self._settings()
        if settings is None:
            raise IposError("the data plane has no settings")
        named = {
            "service_ip": int.from_bytes(attempt.service_ip, "little"),
            "service_port": attempt.service_port,
            "kind": kind,
            "iss": attempt.iss,
            "migration": attempt.migration,
        }
        values = {field.name: 0 for field in _SHAPE.fields} | named | fields
        frame = _frame(settings, attempt, endpoint) + _SHAPE.pack(values)
        context = bytearray(_SK_BUFF_LEN)
        struct.pack_into("=I", context, _SK_BUFF_MARK, _MARK_ORDER)
        program = open_pin(self._programs / Hook.INGRESS.program, "the program that takes orders")
        try:
            ran = syscall.prog_test_run(program, frame, bytes(context), data_out_size=_ROOM)
        finally:
            os.close(program)
        return ran.retval == _DONE

    def close(self) -> None:
        for each in self._maps.values():
            each.close()


def _is_by(row: Gone | Sent, attempt: Attempt, server: int) -> bool:
    return (row.migration, row.iss, row.server) == (attempt.migration, attempt.iss, server)


def _frame(settings: Settings, attempt: Attempt, endpoint: tuple[bytes, int]) -> bytes:
    """All before the order itself."""
    tag = struct.pack(">HH", _VLAN, settings.back_vlan) if settings.back_vlan else b""
    kind = settings.ethertype.to_bytes(2, "big")
    named = Header(
        source_ip=IPv4Address(attempt.client_ip),
        source_port=attempt.client_port,
        destination_ip=IPv4Address(endpoint[0]),
        destination_port=endpoint[1],
        type=PacketType.CONNECTION,
        protocol=Protocol.TCP,
    )
    return settings.back_mac * 2 + tag + kind + header.encode(named)
