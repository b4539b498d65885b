# SPDX-License-Identifier: Apache-2.0
"""The tables of the policy source-hash, as the data plane's map has them.

A table is made of names and weights, which all servers have from the same configuration, and then
filled with this server's own numbers for them. A server that is drained, down or without its
application stays in the table: the data plane goes to the next slot, and its clients find it again
later.
"""

import functools
from collections.abc import Mapping, Sequence

from ipos.abi.rows import SLOTS
from ipos.agent.heartbeat.member import Member
from ipos.selection import source


def table(weights: Mapping[str, int] | None, heard: Sequence[Member]) -> tuple[int, ...]:
    """A server's index for each slot, 0 for a server that was not heard yet.

    `weights` are the pool's by name; None is every server that was heard, all alike. What a server
    says of its weight counts before both.
    """
    indices: dict[str, int] = {}
    ordered: dict[str, int] = {}
    for member in heard:
        if member.state is not None:
            indices.setdefault(member.state.server, member.index)
            ordered.setdefault(member.state.server, member.state.weight)
    servers = dict.fromkeys(indices, 1) if weights is None else weights
    named = tuple(
        sorted((name, ordered.get(name) or weight) for name, weight in servers.items() if weight)
    )
    numbers = tuple(indices.get(name, 0) for name, _ in named)
    return _numbered(named, numbers)


@functools.lru_cache(maxsize=64)
def _numbered(servers: tuple[tuple[str, int], ...], indices: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(indices[position] for position in _positions(servers))


@functools.lru_cache(maxsize=64)
def _positions(servers: tuple[tuple[str, int], ...]) -> tuple[int, ...]:
    """Takes some fifty milliseconds. A pool rarely gets new servers or weights."""
    return tuple(source.table(servers, SLOTS))
