# SPDX-License-Identifier: Apache-2.0
"""The image of an endpoint as bytes.

offset        size
0             140   TCP control block of Figure 11, version 1; its tag is zero, because the
                    tags of the datagrams cover it
140           4     the largest window that the client has offered
144           n     receive queue: `receive_queue_bytes` of the control block
144 + n       m     send queue: `send_queue_bytes`
"""

import struct

from ipos.agent.endpoints.tcp_repair import Image, Unmovable
from ipos.wire.control import CONTROL_BLOCK, ControlBlock, ControlFlags, TcpState
from ipos.wire.errors import WireError

_MORE = struct.Struct(">I")
_BLOCK = 140
HEAD = _BLOCK + _MORE.size

NOTHING_KNOWN = ControlBlock(
    state=TcpState.ESTABLISHED, flags=ControlFlags.NONE, iss=0, irs=0, snd_una=0, snd_nxt=0,
    snd_max=0, snd_wl1=0, snd_wl2=0, snd_wnd=0, rcv_nxt=0, rcv_wnd=0, rcv_adv=0, peer_mss=0,
    effective_mss=0, snd_wscale=0, rcv_wscale=0, ts_recent=0, ts_recent_age_ms=0, ts_last_sent=0,
    srtt_us=0, rttvar_us=0, rto_us=0, snd_cwnd_segments=0, snd_ssthresh_segments=0,
    send_queue_bytes=0, receive_queue_bytes=0, migration_number=0,
)  # fmt: skip
"""Of a socket that no row is about."""


def encode(image: Image) -> bytes:
    block = CONTROL_BLOCK.encode(image.block, tag=bytes(16))
    return block + _MORE.pack(image.max_window) + image.received + image.to_send


def decode(raw: bytes) -> Image:
    """Unmovable when it is none."""
    if len(raw) < HEAD:
        raise Unmovable("the image of the endpoint is cut short")
    try:
        block = CONTROL_BLOCK.decode(raw[:_BLOCK], 0)
    except WireError as error:
        raise Unmovable(f"the image of the endpoint cannot be read: {error}") from None
    received, to_send = block.receive_queue_bytes, block.send_queue_bytes
    if len(raw) != HEAD + received + to_send:
        raise Unmovable("the image of the endpoint has queues of other lengths than it says")
    (max_window,) = _MORE.unpack_from(raw, _BLOCK)
    queues = raw[HEAD:]
    return Image(block, max_window, queues[:received], queues[received:])
