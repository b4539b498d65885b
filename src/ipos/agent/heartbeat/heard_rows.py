# SPDX-License-Identifier: Apache-2.0
"""Reads the map `heard`: what servers have said to our data plane, all rows end to end."""

from ipos.abi.columns import Columns

_NEWEST = Columns("ipos_heard", ("boot", "sequence"), tuple)
_WHEN = Columns("ipos_heard", ("last_ns", "since_ns"), tuple)
_NUMBERS = Columns(
    "ipos_heard",
    (
        "tcp_connections",
        "memory_available",
        "bandwidth_available",
        "sent",
        "closed",
        "cpu_permille",
        "memory_short",
        "bandwidth_short",
    ),
    tuple,
)


def newest(heard: bytes) -> list[tuple[int, ...]]:
    """Of all indices (boot, sequence), as `Member.newest`."""
    return list(_NEWEST.read_all(heard))


def times(heard: bytes, index: int) -> tuple[int, int]:
    """When this server was heard last, and since when without a pause."""
    last_ns, since_ns = _WHEN.read_at(heard, index)
    return last_ns, since_ns


def numbers(heard: bytes, index: int) -> tuple[dict[str, int], tuple[int, int]]:
    """The numbers of its state, and what was sent to it by then and how much of it closed."""
    connections, memory, bandwidth, sent, closed, cpu, *short = _NUMBERS.read_at(heard, index)
    fields = {
        "tcp_connections": connections,
        "cpu_permille": cpu,
        "memory_short": min(short[0], 100),
        "bandwidth_short": min(short[1], 100),
        "memory_available": memory,
        "bandwidth_available": bandwidth,
    }
    return fields, (sent, closed)
