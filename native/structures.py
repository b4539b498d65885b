# SPDX-License-Identifier: Apache-2.0
"""The structs and calls of the native library, as its C has them."""

import ctypes
from typing import Any, Final

from native.values import Sent, Socket

_INWARD, _PEER, _NEIGHBOUR = 1, 2, 3  # enum native_way


class RawMap(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char * 24),
        ("type", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("zero", ctypes.c_uint32 * 6),
    ]


_SOCKET: Final[list[Any]] = [
    ("client_port", ctypes.c_uint16.__ctype_be__),
    ("service_port", ctypes.c_uint16.__ctype_be__),
    ("state", ctypes.c_uint32),
    ("rcv_nxt", ctypes.c_uint32),
    ("ack_backlog", ctypes.c_uint32),
    ("max_ack_backlog", ctypes.c_uint32),
    ("copied_seq", ctypes.c_uint32),
    ("snd_nxt", ctypes.c_uint32),
    ("write_seq", ctypes.c_uint32),
    ("snd_una", ctypes.c_uint32),
    ("max_window", ctypes.c_uint32),
    ("ts_recent", ctypes.c_uint32),
    ("backlog", ctypes.c_uint32),
    ("gaps", ctypes.c_uint32),
    ("shutdown", ctypes.c_uint32),
    ("data_segs_out", ctypes.c_uint32),
    ("lsndtime", ctypes.c_uint32),
    ("lrcvtime", ctypes.c_uint32),
    ("netns", ctypes.c_int32),
]


class RawSocket(ctypes.Structure):
    _fields_ = [("client_ip", ctypes.c_char * 4), ("service_ip", ctypes.c_char * 4), *_SOCKET]


class RawSocket6(ctypes.Structure):
    _fields_ = [("client_ip", ctypes.c_char * 16), ("service_ip", ctypes.c_char * 16), *_SOCKET]


class RawFrame(ctypes.Structure):
    _fields_ = [
        ("ifindex", ctypes.c_uint32),
        ("inward", ctypes.c_uint32),
        ("mark", ctypes.c_uint32),
        ("length", ctypes.c_uint32),
        ("bytes", ctypes.c_ubyte * 4096),
    ]

    @property
    def data(self) -> bytes:
        return ctypes.string_at(ctypes.addressof(self) + 16, self.length)

    @property
    def sent(self) -> Sent:
        way = self.inward
        return Sent(
            self.ifindex, way == _INWARD, self.data, self.mark, way == _PEER, way == _NEIGHBOUR
        )


class RawAttributes(ctypes.Structure):
    _fields_ = [
        ("rcv_tsval", ctypes.c_uint32),
        ("rcv_tsecr", ctypes.c_uint32),
        ("mss", ctypes.c_uint16),
        ("rcv_wscale", ctypes.c_uint8),
        ("snd_wscale", ctypes.c_uint8),
        ("ecn_ok", ctypes.c_uint8),
        ("wscale_ok", ctypes.c_uint8),
        ("sack_ok", ctypes.c_uint8),
        ("tstamp_ok", ctypes.c_uint8),
        ("usec_ts_ok", ctypes.c_uint8),
        ("reserved", ctypes.c_uint8 * 3),
    ]


class RawAssignment(ctypes.Structure):
    _fields_ = [
        ("socket", ctypes.c_uint32),
        ("request", ctypes.c_uint32),
        ("attributes", RawAttributes),
    ]


class RawChoice(ctypes.Structure):
    _fields_ = [
        ("server", ctypes.c_uint32),
        ("port", ctypes.c_uint16),
        ("zeros", ctypes.c_uint16),
        ("pool", ctypes.c_uint16),
        ("rule", ctypes.c_uint16),
        ("session", ctypes.c_uint8),
        ("insert", ctypes.c_uint8),
        ("redirect", ctypes.c_uint8),
        ("zero", ctypes.c_uint8),
    ]


class RawAsked(ctypes.Structure):
    _fields_ = [
        ("times", ctypes.c_uint32),
        ("vain", ctypes.c_uint32),
    ]


class RawRecord(ctypes.Structure):
    _fields_ = [
        ("length", ctypes.c_uint32),
        ("map", ctypes.c_uint32),
        ("bytes", ctypes.c_ubyte * 2048),
    ]


_NODE = ctypes.c_void_p
_INT, _U32, _U64, _BYTES = ctypes.c_int, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_char_p
SIGNATURES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "ipos_node_new": (_NODE, []),
    "ipos_node_free": (None, [_NODE]),
    "ipos_node_clock": (None, [_NODE, _U64]),
    "ipos_node_random": (None, [_NODE, _U64, _U32]),
    "ipos_node_cpu": (None, [_NODE, _U32]),
    "ipos_node_assign_answer": (None, [_NODE, ctypes.c_int32]),
    "ipos_node_emit_fails": (None, [_NODE, _U32]),
    "ipos_node_sockets": (_INT, [_NODE, ctypes.c_void_p, _U32]),
    "ipos_maps": (_U32, []),
    "ipos_map_describe": (_INT, [_U32, ctypes.POINTER(RawMap)]),
    "ipos_map_resize": (_INT, [_NODE, _U32, _U32]),
    "ipos_map_get": (_INT, [_NODE, _U32, _BYTES, _BYTES]),
    "ipos_map_put": (_INT, [_NODE, _U32, _BYTES, _BYTES, _U64]),
    "ipos_map_remove": (_INT, [_NODE, _U32, _BYTES]),
    "ipos_map_pop": (_INT, [_NODE, _U32, _BYTES]),
    "ipos_map_next": (_INT, [_NODE, _U32, _BYTES, _BYTES]),
    "ipos_map_asked": (None, [_NODE, _U32, ctypes.POINTER(RawAsked)]),
    "ipos_map_count": (_U32, [_NODE, _U32]),
    "ipos_map_values": (ctypes.c_void_p, [_NODE, _U32]),
    "ipos_run_xdp": (_INT, [_NODE, _BYTES, _U32, _U32]),
    "ipos_run_ingress": (_INT, [_NODE, _BYTES, _U32, _U32, _U32]),
    "ipos_run_egress": (_INT, [_NODE, _BYTES, _U32, _U32, _U32]),
    "ipos_run_box": (_INT, [_NODE, _BYTES, _U32, _U32, _U32, _U32]),
    "ipos_run_sockops": (_INT, [_NODE, _U32, ctypes.c_void_p, _U64, _U32]),
    "ipos_run_route": (_INT, [_NODE, _BYTES, ctypes.POINTER(RawChoice)]),
    "ipos_decide_pool": (_INT, [_NODE, ctypes.c_char_p, _U64, ctypes.POINTER(RawChoice)]),
    "ipos_choose": (_U32, [_NODE, _U32, ctypes.c_char_p, _U64, _U32, _U32, ctypes.POINTER(_U32)]),
    "ipos_request_open": (None, [_NODE, _U32, _U32]),
    "ipos_head_open": (None, [_NODE, _U32]),
    "ipos_head_feed": (_INT, [_NODE, _BYTES, _U32]),
    "ipos_request_feed": (_INT, [_NODE, _BYTES, _U32]),
    "ipos_request": (ctypes.c_void_p, [_NODE]),
    "ipos_answer_feed": (_INT, [_NODE, ctypes.c_void_p, _BYTES, _U32]),
    "ipos_learn_feed": (_INT, [_NODE, ctypes.c_void_p, _BYTES, _U32]),
    "ipos_insert_feed": (_U32, [ctypes.c_void_p, _BYTES, _U32]),
    "ipos_verdict": (ctypes.c_int32, [_NODE]),
    "ipos_metadata": (_U32, [_NODE]),
    "ipos_frame": (ctypes.POINTER(RawFrame), [_NODE]),
    "ipos_sent": (_U32, [_NODE]),
    "ipos_sent_at": (ctypes.POINTER(RawFrame), [_NODE, _U32]),
    "ipos_assigned": (_U32, [_NODE]),
    "ipos_assigned_at": (ctypes.POINTER(RawAssignment), [_NODE, _U32]),
    "ipos_records": (_U32, [_NODE]),
    "ipos_record_at": (ctypes.POINTER(RawRecord), [_NODE, _U32]),
}


SOCKETS: Final[dict[int, type[RawSocket] | type[RawSocket6]]] = {4: RawSocket, 6: RawSocket6}
"""By family."""


def raw_socket(socket: Socket, family: int) -> RawSocket | RawSocket6:
    raw = SOCKETS[family](
        client_port=socket.client_port,
        service_port=socket.service_port,
        state=socket.state,
        rcv_nxt=socket.rcv_nxt,
        ack_backlog=socket.queued,
        max_ack_backlog=socket.backlog,
        copied_seq=socket.copied_seq,
        snd_nxt=socket.snd_nxt,
        write_seq=socket.write_seq,
        snd_una=socket.snd_nxt if socket.snd_una is None else socket.snd_una,
        max_window=socket.max_window,
        ts_recent=socket.ts_recent,
        backlog=socket.waiting,
        gaps=socket.gaps,
        shutdown=socket.shutdown,
        data_segs_out=socket.sent,
        lsndtime=socket.spoke,
        lrcvtime=socket.heard,
        netns=socket.netns,
    )
    # c_char arrays end at a zero byte when they are assigned; addresses do not.
    width = 4 if family == 4 else 16
    addresses = (one.packed.rjust(width, b"\0") for one in (socket.client, socket.service))
    ctypes.memmove(ctypes.addressof(raw), b"".join(addresses), 2 * width)
    return raw
