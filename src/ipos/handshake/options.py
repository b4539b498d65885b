# SPDX-License-Identifier: Apache-2.0
"""TCP options: what a SYN offers and what our SYN-ACK agrees to.

Sources: RFC 9293 section 3.1 (list, MSS), RFC 7323 (window scale, timestamps), RFC 2018 (SACK).

How an option list is read; the data plane follows the same rules:

1.  Options are read in the order they stand, in any order. The list ends at an end-of-list
    option (0), at the end of the header, at an option whose length byte is missing, below 2 or
    beyond the header. What was read before the end stands.
2.  A no-operation (1) is one byte. Every other kind is skipped by its length, so unknown kinds
    (MPTCP, Fast Open, accurate ECN) are as if they were not there.
3.  A known kind counts only with its exact length: MSS 4, window scale 3, SACK permitted 2,
    timestamps 10. With another length it is skipped as unknown.
4.  The first occurrence that counts wins; later ones are ignored.
5.  A window scale above 14 counts as 14 (RFC 7323 section 2.3); an MSS below 536, 0 included,
    counts as 536, as does a SYN without the option (RFC 9293 section 3.7.1 has 536 as default;
    Linux accepts no endpoint with less through ``bpf_sk_assign_tcp_reqsk``).
6.  In segments without SYN only the timestamps mean anything.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MSS_MIN = 536
WINDOW_SCALE_MAX = 14

# What we offer, the same on every server; `abi/ipos.h` has them as IPOS_MSS and IPOS_WSCALE.
OUR_MSS = 1432  # 1500 - 40 - ipOS header 16 - trailer 8 - VLAN tag 4
OUR_MSS6 = 1396  # the same of IPv6, whose headers are 20 and 16 bytes longer
OUR_WINDOW_SCALE = 7

_EOL, _NOP, _MSS, _WINDOW_SCALE, _SACK_PERMITTED, _TIMESTAMPS = 0, 1, 2, 3, 4, 8


@dataclass(frozen=True, slots=True)
class Timestamps:
    """RFC 7323 section 3: TSval and TSecr, 32 bits each."""

    value: int
    echo: int


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one segment that ipOS knows; ``None`` and ``False``: not there."""

    mss: int = MSS_MIN
    window_scale: int | None = None
    sack_permitted: bool = False
    timestamps: Timestamps | None = None


def parse_options(raw: bytes) -> Options:
    """Read the bytes between a TCP header and its data. No input is an error: see rule 1."""
    found: dict[int, bytes] = {}
    exact = {_MSS: 4, _WINDOW_SCALE: 3, _SACK_PERMITTED: 2, _TIMESTAMPS: 10}
    at = 0
    while at < len(raw):
        kind = raw[at]
        if kind == _EOL:
            break
        if kind == _NOP:
            at += 1
            continue
        if at + 1 >= len(raw):
            break
        length = raw[at + 1]
        if length < 2 or at + length > len(raw):
            break
        if exact.get(kind) == length:
            found.setdefault(kind, raw[at + 2 : at + length])
        at += length
    mss = int.from_bytes(found.get(_MSS, b""), "big")
    scale = found.get(_WINDOW_SCALE)
    stamps = found.get(_TIMESTAMPS)
    return Options(
        mss=max(mss, MSS_MIN),
        window_scale=None if scale is None else min(scale[0], WINDOW_SCALE_MAX),
        sack_permitted=_SACK_PERMITTED in found,
        timestamps=None if stamps is None else Timestamps(*struct.unpack("!II", stamps)),
    )


def write_timestamps(stamps: Timestamps) -> bytes:
    """12 bytes: two no-operations, then the option, as RFC 7323 appendix A lays it out."""
    return struct.pack("!BBBBII", _NOP, _NOP, _TIMESTAMPS, 10, stamps.value, stamps.echo)


def write_syn_ack_options(offered: Options, stamps: Timestamps | None, mss: int = OUR_MSS) -> bytes:
    """The options of our SYN-ACK to a SYN that offered these: 4 to 20 bytes, a multiple of four.

    MSS always, which is ours; then SACK permitted and timestamps, each only if offered (``stamps``
    is given if and only if timestamps were); then the window scale if offered. Padding stands
    before an option, never after, so that timestamps are aligned:

        MSS | SACK-permitted TS  or  NOP NOP TS  or  NOP NOP SACK-permitted | NOP window-scale
    """
    out = struct.pack("!BBH", _MSS, 4, mss)
    if stamps is not None:
        aligned = write_timestamps(stamps)
        out += bytes((_SACK_PERMITTED, 2)) + aligned[2:] if offered.sack_permitted else aligned
    elif offered.sack_permitted:
        out += bytes((_NOP, _NOP, _SACK_PERMITTED, 2))
    if offered.window_scale is not None:
        out += bytes((_NOP, _WINDOW_SCALE, 3, OUR_WINDOW_SCALE))
    return out
