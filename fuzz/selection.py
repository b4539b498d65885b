# SPDX-License-Identifier: Apache-2.0
"""The C core's choice of a server against the policies of `ipos.selection`.

A service that selects on connection decides with its first SYN, whose type 2 frame says for whom.
"""

from __future__ import annotations

import random

from fuzz.endpoints import SIZES, Mismatch
from ipos.selection.policies import Candidate, Load, Policy, ServerState, decide
from tests.golden import packets
from tests.golden.machine import Config, NativeMachine, configure, connection_key

SERVERS = range(2, 70)
_SYN = packets.syn([("MSS", 1460)])


def run(seed: int, count: int) -> tuple[int, list[str]]:
    """So many decisions; how many there were, and what differed."""
    rng = random.Random(seed)
    machine = NativeMachine(SIZES)
    configure(machine, Config(select="CONNECTION"))
    found: list[str] = []
    for number in range(count):
        try:
            _decision(machine, rng)
        except Mismatch as mismatch:
            found.append(f"decision {number} of seed {seed}: {mismatch}")
            if len(found) == 20:
                break
    return number + 1, found


def _decision(machine: NativeMachine, rng: random.Random) -> None:
    policy = rng.choice(list(Policy))
    candidates = [
        Candidate(server, rng.choice((1, 1, 2, 3, 100, 65_535)))
        for server in rng.sample(SERVERS, rng.choice((0, 1, 2, 3, 5, 64)))
    ]
    loads = {candidate.server: _load(rng) for candidate in candidates}
    for server, load in loads.items():
        machine.table("servers")[server] = {
            "address": server, "mac": bytes(6), "state": load.state,
            "tcp_connections": load.tcp_connections, "cpu_permille": load.cpu_permille,
            "base": load.base, "limit": load.limit, "ramp": 256,
        }  # fmt: skip
        machine.table("traffic")[server] = {"sent": load.sent, "closed": load.closed}
    turn, number = rng.getrandbits(16), rng.getrandbits(32)
    machine.table("pools")[1] = {
        "policy": policy, "count": len(candidates), "turn": turn,
        "candidates": [
            {"server": c.server, "port": c.server, "weight": c.weight} for c in candidates
        ],
    }  # fmt: skip
    machine.node.random_is(number)
    temporary = machine.table("temporary")
    key = connection_key()
    if key in temporary:
        del temporary[key]
    machine.xdp(_SYN, "front")
    row = temporary.get(key)
    chosen = row["server"] if row else None
    told = decide(policy, candidates, loads, random=number, turn=turn)
    wanted = told.candidate.server if told.candidate else None
    if chosen != wanted or (row and row["port"] != wanted):
        raise Mismatch(f"the core chose {chosen}, the oracle {wanted}: {told.reason}")


def _load(rng: random.Random) -> Load:
    sent = rng.choice((0, 5, 1000, 1 << 40))
    return Load(
        state=rng.choice((ServerState.READY, ServerState.READY, ServerState.READY, *ServerState)),
        tcp_connections=rng.choice((0, 1, 50, 2**31)),
        cpu_permille=rng.choice((0, 1, 500, 999, 1000)),
        sent=sent,
        closed=rng.choice((0, sent // 2, sent)),
        base=rng.choice((0, 1, sent, -3)),
        limit=rng.choice((0, 0, 1, 100, 2**32 - 1)),
    )
