# SPDX-License-Identifier: Apache-2.0
"""Types 8 and 9, the question whether a data plane works and its answer, built by scapy."""

from __future__ import annotations

from tests.support.golden.packets import BACK, FRAME_KEY, MAC2, S2, SERVICE, on_back, tag64
from tests.support.scapy_layers import IposHeader, Probe


def probe(
    kind: int,
    *,
    to: str = BACK,
    by: str = MAC2,
    asker: str = S2,
    asked: str = SERVICE,
    nonce: bytes = b"twelve bytes",
    protocol: int = 1,
    chksum: int | None = None,
    tag: bytes | None = None,
    key: bytes = FRAME_KEY,
    vlan: int = 0,
    cut: int | None = None,
) -> bytes:
    """Types 8 and 9; by default s2's question to us, or our answer's like."""
    outer = bytes(IposHeader(src=asker, dst=asked, type=kind, protocol=protocol, chksum=chksum))
    told = tag64(outer + nonce, key) if tag is None else tag
    body = outer + bytes(Probe(nonce=nonce, tag=told))
    if cut is not None:
        return on_back(body[:cut], to, by, vlan, shortest=0)
    return on_back(body, to, by, vlan)
