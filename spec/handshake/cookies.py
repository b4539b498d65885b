# SPDX-License-Identifier: Apache-2.0
"""Cookies: the SYN-ACK carries the handshake, and the ACK brings it back; nothing is stored.

The MAC is SipHash-2-4-64, read as one 64-bit number, under the key of the epoch, over 24 bytes:

    client IP 4, service IP 4, client port 2, service port 2, client ISN 4, options word 4, mode 4

all big-endian; of IPv6 over 48 bytes, because its addresses have 16. The mode is 1 if the SYN had
timestamps, else 0. The options word is

    bits 0-3   the client's window scale, 15: none
    bit  4     SACK permitted
    bit  5     ECN
    bits 6-21  mode 1: the client's MSS; mode 0: an index into MSS_TABLE (bits 6-7)

Mode 1: the ISN is the MAC's top 31 bits, then the epoch's parity; TSval is the options word with
the MAC's low ten bits in bits 22-31, so the client must return 41 bits of proof.

    ISN    mac >> 33 (31) | parity (1)
    TSval  mac & 0x3ff (10) | options word (22)

Mode 0: everything rides in the ISN, which leaves 25 bits of MAC; ECN is never agreed to.

    ISN    mac >> 39 (25) | MSS index (2) | SACK (1) | window scale (4)

A cookie of mode 1 counts in its own epoch and in the next, so it lives 16 to 32 seconds; the parity
says which of the two keys to try. In mode 0 nothing but the MAC says which epoch it is of. It
counts in its own and in the first half of the next, so it lives 8 to 24 seconds; a guess is right
with probability 2^-25 or 2^-24. A cookie that is too old opens nothing, but until 64 epochs have
begun since it was made it still proves that its client once shook hands with us.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag

from ipos.handshake.keys import EPOCH_S, epoch_of
from ipos.handshake.options import Options, parse_options
from ipos.handshake.segment import Flag, Segment
from ipos.handshake.siphash import siphash64

MSS_TABLE = (536, 1220, 1400, 1460)
MSS_TABLE6 = (1220, 1340, 1400, 1440)
"""Of IPv6; the kernel takes no connection with less than the first."""
EPOCHS_BACK = 64
WINDOW_SCALE_NONE = 15

CookieKey = Callable[[int], bytes]  # epoch -> the 16 bytes of its key

_U32 = 0xFFFF_FFFF
_WORD_MASK = 0x3F_FFFF
_SACK = 1 << 4
_ECN = 1 << 5
_MSS_SHIFT = 6


class Agreed(IntFlag):
    """Options both sides have; the values are ``enum ipos_options`` and the control block's."""

    SACK = 1
    TIMESTAMPS = 2
    WINDOW_SCALE = 4
    ECN = 8


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a handshake agreed on: the columns of ``struct ipos_handshake``.

    ``mss`` in bytes; ``snd_wscale`` is the client's, 0 without the option; ``ts_recent`` is the
    client's last TSval and ``ts_sent`` the last of ours that it echoed, both 0 without timestamps.
    """

    iss: int
    irs: int
    mss: int
    snd_wscale: int
    options: Agreed
    ts_recent: int
    ts_sent: int


@dataclass(frozen=True, slots=True)
class Cookie:
    """What our SYN-ACK carries: its ISN, and its TSval if the SYN had timestamps."""

    iss: int
    ts_value: int | None
    ecn: bool


def is_syn(segment: Segment) -> bool:
    """A SYN that opens a connection: SYN alone of SYN, ACK, RST and FIN."""
    return segment.flags & (Flag.SYN | Flag.ACK | Flag.RST | Flag.FIN) == Flag.SYN


def offers_ecn(syn: Segment, options: Options) -> bool:
    """ECE and CWR without AE (RFC 3168 section 6.1.1), and timestamps to remember it in.

    With AE the client asks for accurate ECN (RFC 9768), which we do not speak: no ECN at all.
    """
    ecn = syn.flags & (Flag.ECE | Flag.CWR | Flag.AE) == Flag.ECE | Flag.CWR
    return ecn and options.timestamps is not None


def mss_table(segment: Segment) -> tuple[int, ...]:
    return MSS_TABLE if segment.source.version == 4 else MSS_TABLE6


def mss_index(mss: int, table: tuple[int, ...] = MSS_TABLE) -> int:
    """The place in the table of its largest entry not above this MSS; 0 if all are above."""
    return max(sum(entry <= mss for entry in table) - 1, 0)


def make(syn: Segment, key: CookieKey, now_wall_s: float) -> Cookie:
    """The cookie for a SYN, which ``is_syn`` has accepted. Its data and window play no part."""
    options = parse_options(syn.options)
    epoch = epoch_of(now_wall_s)
    ecn = offers_ecn(syn, options)
    scale = WINDOW_SCALE_NONE if options.window_scale is None else options.window_scale
    word = scale | options.sack_permitted * _SACK | ecn * _ECN
    if options.timestamps is None:
        index = mss_index(options.mss, mss_table(syn))
        mac = _mac(key(epoch), syn, syn.seq, word | index << _MSS_SHIFT, 0)
        iss = mac >> 39 << 7 | index << 5 | options.sack_permitted << 4 | scale
        return Cookie(iss, None, ecn=False)
    word |= max(options.mss, mss_table(syn)[0]) << _MSS_SHIFT
    mac = _mac(key(epoch), syn, syn.seq, word, 1)
    return Cookie(mac >> 33 << 1 | epoch & 1, word | (mac & 0x3FF) << 22, ecn)


def check(segment: Segment, key: CookieKey, now_wall_s: float) -> Handshake | None:
    """The handshake that this segment proves, or ``None``.

    It must have ACK and neither SYN nor RST, and be the client's first: its sequence number is
    the client's ISN + 1 (data and FIN may follow) and it acknowledges our ISN + 1. A timestamp
    option in it means mode 1, none means mode 0: a client that offered timestamps and leaves them
    out proves nothing (RFC 7323 section 3.2 has it put them into every segment).
    """
    if segment.flags & (Flag.ACK | Flag.SYN | Flag.RST) != Flag.ACK:
        return None
    stamps = parse_options(segment.options).timestamps
    iss = segment.ack - 1 & _U32
    irs = segment.seq - 1 & _U32
    epoch = epoch_of(now_wall_s)
    if stamps is None:
        index = iss >> 5 & 3
        word = iss & 0x1F | index << _MSS_SHIFT
        mss = mss_table(segment)[index]
        early = epoch_of(now_wall_s + EPOCH_S / 2) == epoch
        epochs = (epoch, epoch - 1) if early else (epoch,)
    else:
        word = stamps.echo & _WORD_MASK
        mss = word >> _MSS_SHIFT
        epochs = (epoch if epoch & 1 == iss & 1 else epoch - 1,)
    if not any(_proven(segment, key, one, word) for one in epochs):
        return None
    scale = word & 0xF
    agreed = Agreed(0)
    if word & _SACK:
        agreed |= Agreed.SACK
    if stamps is not None:
        agreed |= Agreed.TIMESTAMPS
    if scale != WINDOW_SCALE_NONE:
        agreed |= Agreed.WINDOW_SCALE
    if word & _ECN:
        agreed |= Agreed.ECN
    return Handshake(
        iss=iss,
        irs=irs,
        mss=mss,
        snd_wscale=scale if scale != WINDOW_SCALE_NONE else 0,
        options=agreed,
        ts_recent=stamps.value if stamps is not None else 0,
        ts_sent=stamps.echo if stamps is not None else 0,
    )


def is_expired(segment: Segment, key: CookieKey, now_wall_s: float) -> bool:
    """Whether a segment without RST, which `check` has refused, proves a cookie that is too old."""
    if segment.flags & (Flag.ACK | Flag.SYN | Flag.RST) != Flag.ACK:
        return False
    stamps = parse_options(segment.options).timestamps
    iss = segment.ack - 1 & _U32
    word = iss & 0x1F | (iss >> 5 & 3) << _MSS_SHIFT if stamps is None else stamps.echo & _WORD_MASK
    now = epoch_of(now_wall_s)
    epochs = range(now, now - EPOCHS_BACK, -1)
    if stamps is not None:
        epochs = range(now - ((now ^ iss) & 1), now - EPOCHS_BACK, -2)
    return any(_proven(segment, key, epoch, word) for epoch in epochs)


def _proven(segment: Segment, key: CookieKey, epoch: int, word: int) -> bool:
    """Whether the cookie it brings back was made in that epoch."""
    stamps = parse_options(segment.options).timestamps
    iss, irs = segment.ack - 1 & _U32, segment.seq - 1 & _U32
    if epoch < 0:
        return False
    if stamps is None:
        return _mac(key(epoch), segment, irs, word, 0) >> 39 == iss >> 7
    mac = _mac(key(epoch), segment, irs, word, 1)
    return mac >> 33 == iss >> 1 and mac & 0x3FF == stamps.echo >> 22


def _mac(key: bytes, segment: Segment, irs: int, word: int, mode: int) -> int:
    return siphash64(
        key,
        segment.source.packed
        + segment.destination.packed
        + struct.pack(
            "!HHIII",
            segment.source_port,
            segment.destination_port,
            irs,
            word,
            mode,
        ),
    )
