# SPDX-License-Identifier: Apache-2.0
"""Figure 11 once more, as scapy layers: the witness the codecs are held against.

Written from the figure and the control block's table, with scapy's own fields, checksum and
packet building. It shares no line with `ipos.wire`.
"""

from __future__ import annotations

from typing import Any

from scapy.fields import (
    ByteField,
    FlagsField,
    IntField,
    IPField,
    LongField,
    ShortField,
    StrFixedLenField,
    XShortField,
)
from scapy.packet import Packet
from scapy.utils import checksum


class IposHeader(Packet):
    name = "ipOS"
    fields_desc = [  # noqa: RUF012 (scapy's way)
        IPField("src", "0.0.0.0"),
        ShortField("sport", 0),
        IPField("dst", "0.0.0.0"),
        ShortField("dport", 0),
        ByteField("type", 0),
        ByteField("protocol", 0),
        XShortField("chksum", None),
    ]

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        if self.chksum is None:
            pkt = pkt[:14] + checksum(pkt[:14] + b"\0\0").to_bytes(2, "big")
        return pkt + pay


class ConnectionInformation(Packet):
    name = "ipOS connection information"
    fields_desc = [IPField("server", "0.0.0.0"), ShortField("port", 0)]  # noqa: RUF012


class ControlBlockV1(Packet):
    name = "ipOS TCP control block"
    fields_desc = [  # noqa: RUF012
        ByteField("version", 1),
        ByteField("state", 1),
        FlagsField("flags", 0, 16, ["sack", "ts", "ws", "ecn", "us_ts"]),
        IntField("iss", 0),
        IntField("irs", 0),
        IntField("snd_una", 0),
        IntField("snd_nxt", 0),
        IntField("snd_max", 0),
        IntField("snd_wl1", 0),
        IntField("snd_wl2", 0),
        IntField("snd_wnd", 0),
        IntField("rcv_nxt", 0),
        IntField("rcv_wnd", 0),
        IntField("rcv_adv", 0),
        ShortField("peer_mss", 0),
        ShortField("effective_mss", 0),
        ByteField("snd_wscale", 0),
        ByteField("rcv_wscale", 0),
        ShortField("zero54", 0),
        IntField("ts_recent", 0),
        IntField("ts_recent_age_ms", 0),
        IntField("ts_last_sent", 0),
        IntField("srtt_us", 0),
        IntField("rttvar_us", 0),
        IntField("rto_us", 0),
        IntField("snd_cwnd_segments", 0),
        IntField("snd_ssthresh_segments", 0),
        IntField("send_queue_bytes", 0),
        IntField("receive_queue_bytes", 0),
        LongField("migration_number", 0),
        LongField("request_bytes", 0),
        ByteField("body", 0),
        StrFixedLenField("zero113", bytes(3), 3),
        IntField("sent_s", 0),
        IntField("first", 0),
        StrFixedLenField("tag", bytes(16), 16),
    ]


class Trailer(Packet):
    name = "ipOS trailer"
    fields_desc = [  # noqa: RUF012
        IPField("service", "0.0.0.0"),
        ShortField("port", 0),
        ShortField("reason", 0),
        IntField("iss", 0),
        StrFixedLenField("tag", bytes(8), 8),
    ]


class Probe(Packet):
    name = "ipOS probe"
    fields_desc = [  # noqa: RUF012
        StrFixedLenField("nonce", bytes(12), 12),
        StrFixedLenField("tag", bytes(8), 8),
    ]


class Learned(Packet):
    name = "ipOS learned cookie"
    fields_desc = [  # noqa: RUF012
        StrFixedLenField("hash", bytes(8), 8),
        IntField("sent_s", 0),
        StrFixedLenField("tag", bytes(8), 8),
    ]


class Located(Packet):
    name = "ipOS located"
    fields_desc = [  # noqa: RUF012
        IPField("service", "0.0.0.0"),
        ShortField("port", 0),
        ShortField("move", 0),
        IntField("iss", 0),
        IntField("irs", 0),
        IntField("question", 0),
        StrFixedLenField("tag", bytes(8), 8),
    ]


class Numbers(Packet):
    name = "ipOS numbers of a server"
    fields_desc = [  # noqa: RUF012
        LongField("boot", 0),
        LongField("sequence", 0),
        LongField("memory", 0),
        LongField("bandwidth", 0),
        IntField("connections", 0),
        ByteField("memory_short", 0),
        ByteField("bandwidth_short", 0),
        ShortField("cpu", 0),
        IntField("edition", 0),
        IntField("sent_s", 0),
        StrFixedLenField("tag", bytes(8), 8),
    ]


def offsets(layer: type[Packet]) -> dict[str, tuple[int, int]]:
    """Field name -> (offset, size) as scapy lays the fields out, all of fixed size here."""
    found: dict[str, tuple[int, int]] = {}
    end = 0
    for field in layer.fields_desc:
        size = int(field.sz)
        found[field.name] = (end, size)
        end += size
    return found


def built(*layers: Any) -> bytes:
    """The layers' bytes, one after the other."""
    return b"".join(bytes(layer) for layer in layers)
