# SPDX-License-Identifier: Apache-2.0
"""A hundred thousand datagrams of every kind that is no good: each counted, nothing changed."""

import copy
import random
from collections.abc import Callable

import pytest

from ipos.agent.heartbeat import message
from tests.agent.made_up_farm import KEY, NOW_NS, WALL_MS, back, datagram, members, state

COUNT = 100_000
REAL = datagram(2, sequence=1000)


def truncated(dice: random.Random) -> bytes:
    return REAL[: dice.randrange(len(REAL))]


def forged_source(dice: random.Random) -> bytes:
    return OTHERS[dice.randrange(len(OTHERS))]


def flipped(dice: random.Random) -> bytes:
    said = bytearray(REAL)
    said[dice.randrange(1, len(said))] ^= 1 << dice.randrange(8)
    return bytes(said)


OTHERS = [datagram(number) for number in (1, 3, 4)]
WRONG_SECRET = [message.encode(state(2, sequence=n), bytes(16)) for n in range(2000, 2010)]
OLD = [datagram(2, sequence=n) for n in range(991, 1001)]
KINDS: dict[str, tuple[Callable[[random.Random], bytes], set[str]]] = {
    "wrong secret": (lambda dice: dice.choice(WRONG_SECRET), {"tag"}),
    "replayed": (lambda dice: dice.choice(OLD), {"replayed"}),
    "truncated": (truncated, {"short", "tag"}),
    "future version": (lambda dice: bytes((dice.randrange(4, 256),)) + REAL[1:], {"version"}),
    "forged source": (forged_source, {"source"}),
    "a bit flipped": (flipped, {"tag"}),
    "noise": (lambda dice: dice.randbytes(dice.randrange(300)), {"short", "version", "tag"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_row_changes_and_each_is_counted(kind: str) -> None:
    make, reasons = KINDS[kind]
    farm = members()
    assert farm.receive(REAL, int(back(2)), NOW_NS, WALL_MS)
    before = copy.deepcopy(farm.by_ip)
    farm.counts.clear()
    dice = random.Random(kind)
    for _ in range(COUNT):
        assert farm.receive(make(dice), int(back(2)), NOW_NS, WALL_MS) is None
    assert farm.by_ip == before
    assert farm.counts.total() == COUNT
    assert set(farm.counts) <= reasons


def test_the_real_one_is_good() -> None:
    assert message.decode(REAL, KEY).sequence == 1000
