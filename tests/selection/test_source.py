# SPDX-License-Identifier: Apache-2.0
"""source-hash: the table's shares, what changes move, and where clients of a lost server go."""

from __future__ import annotations

from collections import Counter

import pytest

from ipos.selection import source
from ipos.selection.candidates import mix
from ipos.selection.policies import Candidate, Load, Policy, Request, ServerState, decide

NAMES = [(f"s{n}", 1) for n in range(1, 65)]
CLIENTS = range(0x0A00_0000, 0x0A00_0000 + 3000)
POOL = [Candidate(n) for n in (1, 2, 3, 4)]
IDLE = {n: Load() for n in (1, 2, 3, 4)}
FOUR = [position + 1 for position in source.table(NAMES[:4])]


def moved(before: list[tuple[str, int]], after: list[tuple[str, int]]) -> float:
    """The part of all slots that change hands between servers that are in both."""
    old = [before[position][0] for position in source.table(before)]
    new = [after[position][0] for position in source.table(after)]
    both = {name for name, _ in before} & {name for name, _ in after}
    changed = sum(a != b and {a, b} <= both for a, b in zip(old, new, strict=True))
    return changed / source.SLOTS


def homes(pool: list[Candidate] = POOL, loads: dict[int, Load] = IDLE) -> dict[int, int]:
    found = {}
    for client in CLIENTS:
        request = Request(client=client, table=FOUR)
        candidate = decide(Policy.SOURCE_HASH, pool, loads, request).candidate
        assert candidate is not None
        found[client] = candidate.server
    return found


@pytest.mark.parametrize("count", [2, 3, 9, 64])
def test_a_server_that_leaves_moves_at_most_one_in_a_hundred_others(count: int) -> None:
    servers = NAMES[:count]
    for gone in {0, count // 2, count - 1}:
        rest = servers[:gone] + servers[gone + 1 :]
        assert moved(servers, rest) <= 0.01
        assert moved(rest, servers) <= 0.01


def test_weights_are_shares_and_their_change_moves_what_it_must() -> None:
    servers = [("a", 1), ("b", 2), ("c", 5)]
    counts = Counter(source.table(servers))
    assert [counts[n] for n in range(3)] == pytest.approx(
        [source.SLOTS * weight / 8 for _, weight in servers], rel=0.001
    )
    old, new = source.table(servers), source.table([("a", 2), ("b", 2), ("c", 5)])
    changed = sum(a != b for a, b in zip(old, new, strict=True)) / source.SLOTS
    assert changed < 2 / 9 - 1 / 8 + 0.01


def test_the_order_of_servers_does_not_matter() -> None:
    one = [NAMES[position] for position in source.table(NAMES[:5])]
    other = [NAMES[4 - position] for position in source.table(NAMES[:5][::-1])]
    assert one == other


def test_small_tables() -> None:
    assert source.table([]) == []
    assert source.table([("a", 65_535)]) == [0] * source.SLOTS
    assert Counter(source.table([("a", 65_535), ("b", 1)]))[1] == 1
    assert sorted(source.table([("a", 1), ("b", 1)], slots=2)) == [0, 1]
    with pytest.raises(ValueError, match="2 slots are for as many servers at most"):
        source.table([("a", 1), ("b", 1), ("c", 1)], slots=2)
    with pytest.raises(ValueError, match="of weight 1 or more"):
        source.table([("a", 0)])


def test_the_mixer_is_murmurs() -> None:
    # fmix32 of smhasher's MurmurHash3.cpp
    assert [mix(n) for n in (0, 1, 0xFFFF_FFFF)] == [0, 0x514E28B7, 0x81F16F39]


def test_clients_spread_and_stay() -> None:
    counts = Counter(homes().values())
    assert all(abs(counts[server] - 750) < 100 for server in (1, 2, 3, 4))
    assert homes() == homes(POOL[::-1])


@pytest.mark.parametrize(
    "gone",
    [Load(state=ServerState.DOWN), Load(state=ServerState.DRAIN), Load(tcp_connections=9, limit=9)],
)
def test_only_clients_of_a_server_that_cannot_move_and_over_all_others(gone: Load) -> None:
    before, after = homes(), homes(loads=IDLE | {2: gone})
    assert all(after[client] == home for client, home in before.items() if home != 2)
    counts = Counter(after[client] for client, home in before.items() if home == 2)
    assert set(counts) == {1, 3, 4}
    assert min(counts.values()) > 0.25 * sum(counts.values())
    assert after == homes([c for c in POOL if c.server != 2]), "as when it is no candidate"


def test_clients_come_back_one_by_one() -> None:
    before = homes()
    away: set[int] = set(CLIENTS)
    for ramp in (1, 64, 128, 256):
        now = homes([Candidate(2, 1, ramp), *(c for c in POOL if c.server != 2)])
        still = {client for client in CLIENTS if now[client] != before[client]}
        assert {before[client] for client in still} <= {2}
        assert still <= away, "who came back stays"
        away = still
    assert not away


def test_when_nobody_on_the_way_can() -> None:
    told = decide(Policy.SOURCE_HASH, POOL, IDLE, Request(client=7, table=[9] * source.SLOTS))
    assert told.candidate in POOL
    assert told.reason == ("source-hash: it is server 9's client, which is none, one of 4 others")
    told = decide(Policy.SOURCE_HASH, POOL, IDLE, Request(client=7))
    assert told.candidate in POOL
    assert told.reason == "source-hash: no table, one of 4 others"


def test_reasons() -> None:
    home = homes()
    client = next(client for client in CLIENTS if home[client] == 2)
    request = Request(client=client, table=FOUR)
    assert decide(Policy.SOURCE_HASH, POOL, IDLE, request).reason == (
        "source-hash: it is server 2's client"
    )
    drained = IDLE | {2: Load(state=ServerState.DRAIN)}
    other = decide(Policy.SOURCE_HASH, POOL, drained, request)
    assert other.candidate is not None
    assert other.reason == (
        "source-hash: it is server 2's client, which is drain, "
        f"the next is server {other.candidate.server}"
    )
    refused = decide(Policy.SOURCE_HASH, POOL, IDLE, request, refused={2})
    assert "which has refused" in refused.reason
    without = [c for c in POOL if c.server != 2]
    assert "which is no candidate" in decide(Policy.SOURCE_HASH, without, IDLE, request).reason
