# SPDX-License-Identifier: Apache-2.0
"""Figure 11: the frames that servers exchange, as bytes and as values. Pure.

Every number is big-endian, every size is in bytes. A frame is a transport's header, the ipOS
header, a body, and our trailer behind the figure's bytes::

    type        Ethernet  ipOS  body                                trailer      length
    1, TCP      14        16    server IP:port 6, control block 140 -            176
    1, UDP      14        16    server IP:port 6                    offer 14     36
    2, 5        14        16    inner IP packet                     tag 8        38 + inner
    3, 4, 6, 7  14        16    -                                   20, tag incl. 50
    8, 9        14        16    -                                   20, tag incl. 50
    10, 11      14        16    -                                   20, tag incl. 50
    12          14        16    -                                   28, tag incl. 58
    13          14        16    -                                   56, tag incl. 86

An 802.1Q tag makes the Ethernet header 18. Frames below 60 bytes are padded on the wire.

Reading order: `layout` (a field table is a dataclass), `header`, `control`, `inner`, `packets`,
and `ethernet`, which is all there is of a transport. `tags` is the authentication.

Two kinds of fault stay apart. A value that cannot be is our own defect: its constructor raises
``ValueError``. Bytes that cannot be are the sender's: decoding raises `WireError`, which says the
field and its offset, and nothing else.
"""

from ipos.wire.control import ControlBlock, ControlFlags, TcpState
from ipos.wire.errors import WireError
from ipos.wire.ethernet import Frame, VlanTag
from ipos.wire.header import Header, PacketType, Protocol
from ipos.wire.packets import (
    ConnectionPacket,
    DataPacket,
    FlowOffer,
    LearnedPacket,
    LocatedPacket,
    NoticePacket,
    Packet,
    ProbePacket,
    StatePacket,
)

__all__ = [
    "ConnectionPacket",
    "ControlBlock",
    "ControlFlags",
    "DataPacket",
    "FlowOffer",
    "Frame",
    "Header",
    "LearnedPacket",
    "LocatedPacket",
    "NoticePacket",
    "Packet",
    "PacketType",
    "ProbePacket",
    "Protocol",
    "StatePacket",
    "TcpState",
    "VlanTag",
    "WireError",
]
