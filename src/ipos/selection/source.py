# SPDX-License-Identifier: Apache-2.0
"""source-hash: a client's address always leads to the same server, whichever server is asked.

The table (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI
2016, 3.4). Every server has a permutation of the slots of its own, made of its name:

    offset = h[0:8] % M    skip = h[8:16] % (M - 1) + 1    h = BLAKE2b-128(name), little-endian
    its k-th wish is slot (offset + k * skip) % M          M = 65521, a prime

In rounds, each server that is due takes the first slot of its wishes that is free; one is due in
round r if r * weight >= (slots it has) * (the greatest weight). So slots are as many as weights
say, and a server that comes or goes moves few slots of the others: at most 1 in 100 with 64
servers.

The way of a client through the table, with mix as MurmurHash3's last step (fmix32):

    its k-th slot is mix(client + k * 0x9e3779b9) * M >> 32     k from 0 to 31

The first slot on it decides whose server can take the request, so clients of a server that cannot
are spread over the others by weight, each stays where it is put, and nobody else is moved. If no
slot will do, usable number mix(client) * n >> 32 does.
"""

import hashlib
from collections.abc import Iterator, Sequence

from ipos.selection.candidates import mix

SLOTS = 65_521
STEPS = 32
_WORD = 0xFFFF_FFFF


def table(servers: Sequence[tuple[str, int]], slots: int = SLOTS) -> list[int]:
    """For each slot the position of its server among these (name, weight from 1).

    The order of the servers does not change the slots that each gets. Empty without servers.
    ValueError when there are more servers than slots, or a weight is not positive.
    """
    if not servers:
        return []
    if len(servers) > slots or min(weight for _, weight in servers) < 1:
        raise ValueError(f"{slots} slots are for as many servers at most, of weight 1 or more")
    order = sorted(range(len(servers)), key=lambda position: servers[position][0])
    places = [_wishes(servers[position][0], slots) for position in order]
    weights = [servers[position][1] for position in order]
    greatest = max(weights)
    taken = [-1] * slots
    due = [0] * len(order)
    left = slots
    number = 1
    while True:
        found = [i for i, weight in enumerate(weights) if number * weight >= due[i]]
        for position in found:
            due[position] += greatest
            slot, skip = places[position]
            while taken[slot] >= 0:
                slot += skip
                if slot >= slots:
                    slot -= slots
            taken[slot] = order[position]
            places[position] = slot, skip
            left -= 1
            if not left:
                return taken
        number += 1
        if not found:  # weights may be large: on to the next round in which anybody is due
            number = min(-(-d // w) for d, w in zip(due, weights, strict=True))


def way(client: int, slots: int = SLOTS) -> Iterator[int]:
    """The slots that are asked for a client, in order; `client` is its address as a number."""
    for step in range(STEPS):
        yield mix(client + step * 0x9E3779B9) * slots >> 32


def last_resort(client: int, usable: int) -> int:
    """Which of the usable candidates answers when no slot on the way will do."""
    return mix(client) * usable >> 32


def part(client: int) -> int:
    """Which part, 0 to 255, of the clients this one is: those below its ramp a server has."""
    return mix(client ^ 0x51ED270B) & 0xFF


def _wishes(name: str, slots: int) -> tuple[int, int]:
    """(first slot, distance to the next one) of a server's permutation; `slots` is prime."""
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    offset = int.from_bytes(digest[:8], "little") % slots
    return offset, int.from_bytes(digest[8:], "little") % max(1, slots - 1) + 1
