# SPDX-License-Identifier: Apache-2.0
"""Type 13, what changes all the time in a server's state, built by scapy from the design alone."""

from __future__ import annotations

from tests.support.golden.packets import FRAME_KEY, MAC2, SENT_S, on_back, tag64
from tests.support.scapy_layers import IposHeader, Numbers

BACK2, EVERYBODY = "10.77.0.2", "ff:ff:ff:ff:ff:ff"
BOOT, EDITION, SEQUENCE = SENT_S * 1000 - 60_000, 3, 600
"""Of s2's state, as our agent has read it whole."""


def numbers(
    *,
    by: str = MAC2,
    to: str = EVERYBODY,
    back: str = BACK2,
    boot: int = BOOT,
    sequence: int = SEQUENCE + 1,
    edition: int = EDITION,
    memory: int = 1 << 34,
    bandwidth: int = 9_000_000_000,
    connections: int = 77,
    cpu: int = 250,
    short: tuple[int, int] = (60, 70),
    sent_s: int = SENT_S,
    key: bytes = FRAME_KEY,
    tag: bytes | None = None,
    vlan: int = 0,
    cut: int | None = None,
    kind: int = 13,
    chksum: int | None = None,
) -> bytes:
    """By default s2's to all, and newer than what our agent has read."""
    outer = bytes(IposHeader(src=back, type=kind, protocol=1, chksum=chksum))
    body = Numbers(
        boot=boot, sequence=sequence, memory=memory, bandwidth=bandwidth, connections=connections,
        cpu=cpu, edition=edition, sent_s=sent_s, memory_short=short[0], bandwidth_short=short[1],
    )  # fmt: skip
    covered = outer + bytes(body)[:48]
    told = tag64(covered, key) if tag is None else tag
    return on_back((covered + told)[:cut], to, by, vlan)
