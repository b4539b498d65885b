# SPDX-License-Identifier: Apache-2.0
"""The C core's choice of a server against the policies of `ipos.selection`."""

from __future__ import annotations

import random
from ipaddress import IPv4Address

from fuzz.endpoints import SIZES, Mismatch
from ipos.abi.layout import constant, layout
from ipos.selection.candidates import CONNECTIONS_MAX
from ipos.selection.policies import Candidate, Load, Policy, Request, ServerState, decide
from ipos.selection.source import SLOTS, way
from native.library import Node
from tests.support.pools import pool

SERVERS = range(2, 1000)
POOL = 1
_TURN = layout("ipos_pool").field("turn").offset
_BLOCK, _BLOCKS = constant("IPOS_SLOTS_BLOCK"), constant("IPOS_SLOTS_BLOCKS")


def run(seed: int, count: int) -> tuple[int, list[str]]:
    """So many decisions; how many there were, and what differed."""
    rng = random.Random(seed)
    found: list[str] = []
    with Node(SIZES) as node:
        table: list[int] = []
        for number in range(count):
            if number % 1000 == 0:
                table = _table(node, rng)
            try:
                _decision(node, rng, table)
            except Mismatch as mismatch:
                found.append(f"decision {number} of seed {seed}: {mismatch}")
                if len(found) == 20:
                    break
    return number + 1, found


def _decision(node: Node, rng: random.Random, table: list[int]) -> None:
    policy = rng.choice(list(Policy))
    ramps = rng.choice(((256,), (256,), (0,), (256, 1, 100), (5, 77), range(257)))
    weights = rng.choice(((1,), (1, 1, 2, 3, 100, 65_535)))
    candidates = [
        Candidate(server, rng.choice(weights), rng.choice(ramps))
        for server in sorted(rng.sample(SERVERS, rng.choice((0, 1, 2, 3, 5, 64, 200))))
    ]
    alike = rng.random() < 0.5
    loads = {candidate.server: _load(rng, alike) for candidate in candidates}
    for server, load in loads.items():
        node.table("servers")[server] = {
            "address": server, "mac": bytes(6), "state": load.state,
            "tcp_connections": load.tcp_connections, "cpu_permille": load.cpu_permille,
            "memory_short": load.memory_short, "bandwidth_short": load.bandwidth_short,
            "base": load.base, "limit": load.limit, "sent": load.row_sent,
        }  # fmt: skip
        node.table("traffic")[server] = {"sent": load.sent, "closed": load.closed}
    request = Request(
        random=rng.getrandbits(64),
        turn=rng.choice((rng.getrandbits(16), rng.getrandbits(32))),
        client=rng.getrandbits(32),
        firsts=rng.choice((1, 1, 8, 255)),
        table=table,
        ramp=max((c.ramp for c in candidates), default=0),
        returned=rng.random() < 0.2,
    )
    node.table("pools")[POOL] = {
        **pool([{"server": c.server, "port": c.server, "weight": c.weight, "ramp": c.ramp}
                for c in candidates]),
        "policy": policy, "turn": request.turn,
        "firsts": rng.choice((0, 1)) if request.firsts == 1 else request.firsts,
    }  # fmt: skip
    if table and candidates and rng.random() < 0.5:
        # Else a way of 32 slots would rarely meet three candidates among 68 servers.
        slot = rng.choice(list(way(request.client)))
        _put(node, table, slot, rng.choice(candidates).server)
    refused = {c.server for c in candidates if rng.random() < 0.1}
    told = decide(policy, candidates, loads, request, refused)
    chosen, port = node.choose(
        POOL, IPv4Address(request.client), request.random, refused, returned=request.returned
    )
    wanted = told.candidate.server if told.candidate else 0
    if chosen != wanted or port != wanted:
        raise Mismatch(f"the core chose {chosen}, the oracle {wanted}: {told.reason}")
    turn = _turn(node)
    if told.candidate is not None and turn != (request.turn + told.turns) % (1 << 32):
        raise Mismatch(f"{policy.title} left turn {turn} after {request.turn}: {told}")


def _turn(node: Node) -> int:
    """Of the pool, without the rest of its row."""
    row = node.store("pools").get(POOL.to_bytes(4, "little"))
    assert row is not None
    return int.from_bytes(row[_TURN : _TURN + 4], "little")


def _table(node: Node, rng: random.Random) -> list[int]:
    """A table of slots in the node, or none at all."""
    store = node.store("slots")
    for key, _ in list(store.items()):
        store.delete(key)
    if rng.random() < 0.2:
        return []
    table = [rng.choice((0, *SERVERS)) for _ in range(SLOTS)]
    padded = [*table, *[0] * (_BLOCK * _BLOCKS - SLOTS)]
    for block in range(_BLOCKS):
        row = {"servers": padded[block * _BLOCK : (block + 1) * _BLOCK]}
        node.table("slots")[POOL * _BLOCKS + block] = row
    return table


def _put(node: Node, table: list[int], slot: int, server: int) -> None:
    table[slot] = server
    key = POOL * _BLOCKS + slot // _BLOCK
    servers = list(node.table("slots")[key]["servers"])
    servers[slot % _BLOCK] = server
    node.table("slots")[key] = {"servers": servers}


def _load(rng: random.Random, alike: bool) -> Load:
    """Any load; or, `alike`, one near which others are, so that little things decide."""
    state = rng.choice((*[ServerState.READY] * 9, *ServerState))
    if alike:
        sent, closed = rng.randrange(30), rng.randrange(10)
        return Load(
            state=state,
            tcp_connections=rng.choice((rng.randrange(100), CONNECTIONS_MAX + rng.randrange(9))),
            cpu_permille=rng.randrange(1001),
            memory_short=_short(rng),
            bandwidth_short=_short(rng),
            sent=sent,
            closed=closed,
            base=sent - closed - rng.randrange(6),
            row_sent=max(0, sent - rng.randrange(20)),
        )
    sent = rng.choice((0, 5, 1000, 1 << 40))
    return Load(
        state=state,
        tcp_connections=rng.choice((0, 0, 1, 50, 2**31)),
        cpu_permille=rng.choice((0, 1, 500, 999, 1000, rng.randrange(1001))),
        memory_short=_short(rng),
        bandwidth_short=_short(rng),
        sent=sent,
        closed=rng.choice((0, sent // 2, sent)),
        base=rng.choice((0, 1, sent, -3)),
        limit=rng.choice((0, 0, 0, 1, 100, 2**32 - 1)),
        row_sent=rng.choice((sent & 0xFFFF_FFFF, 0, 7)),
    )


def _short(rng: random.Random) -> int:
    """Percent that a server is short of something; mostly it is not."""
    return rng.choice((0, 0, 0, 49, 50, 51, 99, 100, rng.randrange(101)))
