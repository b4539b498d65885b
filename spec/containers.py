# SPDX-License-Identifier: Apache-2.0
"""Applications in containers: where a connection's packets go, and who may send in it. Pure.

Written from docs/design.md, independently of `bpf/tc/to_box.h` and `box.bpf.c`; `fuzz.containers`
holds the two together. A container is the number of our end of the wire to it; 0 is our own kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

OURS = 0


class State(StrEnum):
    """How far an endpoint is from its socket."""

    PENDING = "pending"
    ADOPTING = "adopting"
    ATTACHED = "attached"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """container: where its socket is, or where it is to be made. PENDING: where it was tried."""

    state: State
    container: int


@dataclass(frozen=True, slots=True)
class Connection:
    """What this server knows of one. application: where its service's application is now.

    temporary: it waits, or has ended. left: it was ours, and its socket may not have gone yet.
    """

    application: int
    endpoint: Endpoint | None = None
    temporary: bool = False
    left: bool = False


def place(connection: Connection) -> int:
    """Where a packet goes that TCP is to get: where the socket is, else to the application."""
    endpoint = connection.endpoint
    if endpoint is not None and endpoint.state is not State.PENDING:
        return endpoint.container
    return connection.application


def may_send(connection: Connection, container: int) -> bool:
    """Whether what a container sends in a connection goes to the client's side."""
    known = connection.endpoint is not None or connection.temporary or connection.left
    return known and container != OURS and container == place(connection)


def is_made(connection: Connection, *, syn: bool) -> bool:
    """Whether a marked packet is given to a listener in the container: a SYN of a service that
    selects on connection, or the packet that an endpoint is being made of.
    """
    if syn:
        return connection.temporary
    return connection.endpoint is not None and connection.endpoint.state is State.ADOPTING
