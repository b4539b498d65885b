# SPDX-License-Identifier: Apache-2.0
"""Every policy in both compilations of the core, where chance does not decide.

A service that selects on connection decides with a SYN, and its Temporary row says for whom.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from ipos.abi.layout import constant
from ipos.selection import source
from ipos.selection.policies import Candidate, Load, Policy, Request, ServerState, decide
from tests.support.golden import packets
from tests.support.golden.kernel_machine import kernel_machine
from tests.support.golden.machine import Config, Machine, NativeMachine, configure, connection_key
from tests.support.pools import pool

SYN = packets.syn([("MSS", 1460)])
CLIENT = int(IPv4Address(packets.CLIENT))
POOL = [Candidate(1, 1), Candidate(2, 3), Candidate(3, 2)]
TABLE = [position + 1 for position in source.table([("s1", 1), ("s2", 3), ("s3", 2)])]
LOADS = {1: Load(tcp_connections=4), 2: Load(tcp_connections=9), 3: Load(tcp_connections=7)}
SHORT_OF_MEMORY = {
    1: Load(memory_short=90),
    2: Load(state=ServerState.DRAIN),
    3: Load(tcp_connections=4, memory_short=49),
}
SHORT_OF_BANDWIDTH = {
    1: Load(tcp_connections=3, bandwidth_short=40),
    2: Load(state=ServerState.DRAIN),
    3: Load(bandwidth_short=100),
}
SHORT_OF_BOTH = {
    1: Load(memory_short=50, bandwidth_short=99),
    2: Load(state=ServerState.DRAIN),
    3: Load(memory_short=97, bandwidth_short=50),
}
FULL = {n: Load(tcp_connections=7, limit=7 * (n != 3)) for n in (1, 2, 3)}


@pytest.fixture(scope="module", params=["library", pytest.param("kernel", marks=pytest.mark.farm)])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    if request.param == "kernel":
        with kernel_machine() as loaded:
            yield loaded
    else:
        native = NativeMachine()
        yield native
        native.close()


def chosen(machine: Machine, policy: Policy, loads: dict[int, Load], turn: int) -> int:
    configure(machine, Config(select="CONNECTION"))
    for index, load in loads.items():
        row = machine.table("servers")[index]
        load_of_it = {"tcp_connections": load.tcp_connections, "limit": load.limit,
                      "state": int(load.state),
                      "cpu_permille": load.cpu_permille, "memory_short": load.memory_short,
                      "bandwidth_short": load.bandwidth_short}  # fmt: skip
        machine.table("servers")[index] = {**row, **load_of_it}
    machine.table("pools")[1] = pool(
        [{"server": c.server, "port": 80, "weight": c.weight, "ramp": c.ramp} for c in POOL],
        policy=policy, turn=turn,
    )  # fmt: skip
    block, blocks = constant("IPOS_SLOTS_BLOCK"), constant("IPOS_SLOTS_BLOCKS")
    for number in range(blocks):
        part = TABLE[number * block : (number + 1) * block]
        machine.table("slots")[blocks + number] = {"servers": part}
    temporary, key = machine.table("temporary"), connection_key()
    if key in temporary:
        del temporary[key]
    machine.xdp(SYN, "front")
    server: int = temporary[key]["server"]
    return server


CHANCE = {Policy.LEAST_LOADED, Policy.LEAST_CPU, Policy.RANDOM}
CASES = [
    *((policy, LOADS) for policy in Policy if policy not in CHANCE),
    *((policy, FULL) for policy in Policy),
    (Policy.LEAST_LOADED, SHORT_OF_MEMORY),
    (Policy.LEAST_LOADED, SHORT_OF_BANDWIDTH),
    (Policy.LEAST_LOADED, SHORT_OF_BOTH),
]
"""Where chance decides, only one server has room, or there are two and it draws both: the kernel's
numbers cannot be foretold."""


@pytest.mark.parametrize("turn", [0, 3, 4, 5])
@pytest.mark.parametrize(("policy", "loads"), CASES)
def test_the_core_decides_as_the_oracle(
    machine: Machine, policy: Policy, loads: dict[int, Load], turn: int
) -> None:
    wanted = decide(policy, POOL, loads, Request(turn=turn, client=CLIENT, table=TABLE)).candidate
    assert wanted is not None
    assert chosen(machine, policy, loads, turn) == wanted.server
