# SPDX-License-Identifier: Apache-2.0
"""A farm of values: configuration, states and members for tests of the agent's pure parts."""

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import msgspec

from ipos.agent import message
from ipos.agent.members import Members
from ipos.agent.message import Listening, State
from ipos.config import schema
from ipos.config.schema import Config, Farm, Server, Service

KEY = bytes(range(16))
MS = 1_000_000
NOW_NS = 100_000 * MS
WALL_MS = 1_700_000_000_000


def back(number: int) -> IPv4Address:
    return IPv4Address(f"10.77.0.{number}")


def front(number: int) -> IPv4Address:
    return IPv4Address(f"203.0.113.{number}")


def config(*services: Service, **parts: Any) -> Config:
    """s1's configuration of a farm of three."""
    return Config(
        farm=Farm(
            name="shop",
            secret_file=Path("farm.key"),
            members=[back(n) for n in (1, 2, 3)],
            limits=schema.Limits(),
        ),
        server=Server(name="s1", front="front", back="back", addresses=[front(1)]),
        service=list(services) or [Service(name="web", port=80)],
        **parts,
    )


def state(number: int, **changes: Any) -> State:
    """What server `number` says of itself; everything listens and is well."""
    said = State(
        farm="shop",
        server=f"s{number}",
        boot=WALL_MS - 1000,
        sequence=1,
        sent_ms=WALL_MS,
        state=1,
        back_ip=int(back(number)),
        mac=bytes((2, 0, 0, 0, 0, number)),
        addresses=[int(front(number))],
        tcp_connections=10 * number,
        cpu_permille=100 * number,
        memory_available=number << 30,
        bandwidth_available=1_000_000_000,
        services=["web"],
        listening=[Listening(0, 80, 4711, "nginx")],
    )
    return msgspec.structs.replace(said, **changes)


def datagram(number: int, **changes: Any) -> bytes:
    return message.encode(state(number, **changes), KEY)


def members(**options: Any) -> Members:
    """s1's view of the farm, before it has heard anybody."""
    made = Members("shop", KEY, back(1), **options)
    made.expect([back(n) for n in (1, 2, 3)])
    return made
