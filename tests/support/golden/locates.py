# SPDX-License-Identifier: Apache-2.0
"""Types 5 and 12, the question for a connection's owner and its answer, built by scapy."""

from __future__ import annotations

from typing import Any

from tests.support.golden.packets import (
    BACK,
    FRAME_KEY,
    IRS,
    ISS,
    MAC2,
    S2,
    SENT_S,
    SERVICE,
    WEB,
    header,
    on_back,
    sent_packet,
    tag64,
)
from tests.support.scapy_layers import Located

ALL = "ff:ff:ff:ff:ff:ff"


def locate(inner: bytes, **fields: Any) -> bytes:
    """Type 5; by default our own question to all, as it leaves."""
    return sent_packet(inner, **{"kind": 5, "to": ALL, "by": BACK, "endpoint": SERVICE,
                                 "endpoint_port": SENT_S & 0xFFFF, **fields})  # fmt: skip


def asked(inner: bytes, **fields: Any) -> bytes:
    """The same as s2 asks it, padded to 60 bytes."""
    return locate(inner, **{"by": MAC2, "endpoint": S2, **fields}).ljust(60, b"\0")


def question_of(frame: bytes) -> int:
    """The number of a question, out of its frame."""
    at = (18 if frame[12:14] == b"\x81\x00" else 14) + 16
    end = at + int.from_bytes(frame[at + 2 : at + 4], "big")
    return int.from_bytes(frame[end + 4 : end + 8], "big")


def located(
    question: int,
    *,
    to: str = BACK,
    by: str = MAC2,
    service: str = SERVICE,
    service_port: int = WEB,
    move: int = 0,
    iss: int = ISS,
    irs: int = IRS,
    tag: bytes | None = None,
    key: bytes = FRAME_KEY,
    vlan: int = 0,
    cut: int | None = None,
    **fields: Any,
) -> bytes:
    """Type 12; by default the answer of s2 to us."""
    outer = header(12, **fields)
    plain = bytes(Located(service=service, port=service_port, move=move, iss=iss, irs=irs,
                          question=question))[:20]  # fmt: skip
    ends = bytes.fromhex((to + by).replace(":", ""))
    told = tag64(outer + plain + ends, key) if tag is None else tag
    body = outer + plain + told
    if cut is not None:
        return on_back(body[:cut], to, by, vlan, shortest=0)
    return on_back(body, to, by, vlan)
