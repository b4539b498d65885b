# SPDX-License-Identifier: Apache-2.0
"""The segments that an endpoint without an application sends, byte for byte.

Addresses and ports are those of the segment that is answered, swapped; the rest of the IPv4 header
is `Segment.packet`'s. Only the SYN-ACK and the FIN take sequence space of ours, so after the
handshake every answer is sent at our ISN + 1. Answers to a segment with timestamps carry
timestamps: TSval is what it echoed (our SYN-ACK's, because we sent no other; RFC 7323 section 5.3
has the client drop lower values only) and TSecr its TSval.
"""

from __future__ import annotations

from dataclasses import replace

from ipos.handshake.options import (
    OUR_MSS,
    OUR_MSS6,
    OUR_WINDOW_SCALE,
    Timestamps,
    parse_options,
    write_syn_ack_options,
    write_timestamps,
)
from ipos.handshake.segment import Flag, Segment
from spec.handshake.cookies import CookieKey, make

WINDOW = 14_600  # bytes; ten segments of 1460, and what one unattached endpoint can hold

_U32 = 0xFFFF_FFFF


def syn_ack(syn: Segment, key: CookieKey, now_wall_s: float) -> Segment:
    """The answer to a SYN that ``cookies.is_syn`` has accepted.

    Data in the SYN is not acknowledged: the client sends it again (RFC 7413 section 4.2 has a
    Fast Open client fall back so). The window of a SYN-ACK is never scaled (RFC 7323 section
    2.2). ECE alone among the ECN flags agrees to ECN (RFC 3168 section 6.1.1).
    """
    offered = parse_options(syn.options)
    cookie = make(syn, key, now_wall_s)
    stamps = None
    if cookie.ts_value is not None and offered.timestamps is not None:
        stamps = Timestamps(cookie.ts_value, offered.timestamps.value)
    return replace(
        _back(syn),
        seq=cookie.iss,
        ack=syn.seq + 1 & _U32,
        flags=Flag.SYN | Flag.ACK | (Flag.ECE if cookie.ecn else Flag(0)),
        window=WINDOW,
        options=write_syn_ack_options(
            offered, stamps, OUR_MSS if syn.source.version == 4 else OUR_MSS6
        ),
    )


def reset(to: Segment) -> Segment:
    """The RST that a segment provokes (RFC 9293 section 3.5.2), without options.

    With ACK it stands at exactly the number that the segment expects, so the client takes it (RFC
    5961 section 3.2); without, it acknowledges all that the segment took of sequence space.
    """
    if Flag.ACK in to.flags:
        return replace(_back(to), seq=to.ack, flags=Flag.RST)
    return replace(_back(to), ack=to.end, flags=Flag.RST | Flag.ACK)


def acknowledge(to: Segment, *, seq: int, ack: int, held: int, scaled: bool) -> Segment:
    """A pure ACK. ``held`` bytes of a request are in order; ``scaled``: the client scales windows.

    The window is what is left of the 14,600 bytes, so its right edge stays where the SYN-ACK put
    it or, rounded up by our scale, less than 128 bytes to its right, and never moves back (RFC
    9293 section 3.8.6); a client without the option reads it unscaled.
    """
    stamps = parse_options(to.options).timestamps
    return replace(
        _back(to),
        seq=seq,
        ack=ack,
        flags=Flag.ACK,
        window=-(-(WINDOW - held) >> (OUR_WINDOW_SCALE if scaled else 0)),
        options=b"" if stamps is None else write_timestamps(Timestamps(stamps.echo, stamps.value)),
    )


def _back(segment: Segment) -> Segment:
    return Segment(
        source=segment.destination,
        source_port=segment.destination_port,
        destination=segment.source,
        destination_port=segment.source_port,
        seq=0,
        flags=Flag(0),
    )
