# SPDX-License-Identifier: Apache-2.0
"""The client's packet inside `PACKET` and `LOCATE` frames: where it ends, and which bytes a tag
covers.

The packet is not changed on the way, and its checksums are checked by its receiver. Only what the
framing needs is read (RFC 791, RFC 9293, RFC 768): the lengths, and that there is a transport
header at all.

A router's ICMP error about a connection ("fragmentation needed") belongs to its owner, and travels
as the client's packets do; its 8-byte header (RFC 792) takes the place of the transport's.
"""

from __future__ import annotations

from ipos.wire.cursor import Cursor
from ipos.wire.errors import WireError
from ipos.wire.header import Protocol

IPV4_HEADER_SIZE = 20
IPV6_HEADER_SIZE = 40
TCP_HEADER_SIZE = 20
UDP_HEADER_SIZE = 8
ICMP_HEADER_SIZE = 8

_TOTAL_LENGTH = slice(2, 4)
_FRAGMENT = slice(6, 8)
_MORE_FRAGMENTS_OR_OFFSET = 0x3FFF
_OFFSET = 0x1FFF
_PROTOCOL = 9
_TCP_DATA_OFFSET = 12

# IANA's numbers; the ipOS header has its own.
_ICMP = 1
_ICMP6 = 58
_IP_PROTOCOL = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.TCP6: 6, Protocol.UDP6: 17}
_NEXT_HEADER = 6
_PAYLOAD_LENGTH = slice(4, 6)


def take(cursor: Cursor, protocol: Protocol) -> tuple[bytes, int]:
    """The IP packet at the cursor, whole, and the size of its IP and transport headers.

    A fragment of UDP is a packet like any other; a later one has no transport header. ``WireError``
    if it is truncated, of another family, a fragment of TCP, of another protocol than the ipOS
    header says, or if its headers do not fit into its own length.
    """
    if protocol.is_six:
        return _take6(cursor, protocol)
    start = cursor.offset
    ip = cursor.take("inner_ip_header", IPV4_HEADER_SIZE)
    if ip[0] >> 4 != 4:
        raise WireError("inner_version", start, f"must be 4, not {ip[0] >> 4}")
    ip_size = (ip[0] & 0xF) * 4
    if ip_size < IPV4_HEADER_SIZE:
        raise WireError("inner_header_length", start, f"{ip_size} bytes are no IPv4 header")
    fragment = int.from_bytes(ip[_FRAGMENT], "big") & _MORE_FRAGMENTS_OR_OFFSET
    if fragment and protocol is not Protocol.UDP:
        raise WireError(
            "inner_fragment", start + _FRAGMENT.start, "a fragment is not a whole packet"
        )
    if ip[_PROTOCOL] not in (_IP_PROTOCOL[protocol], _ICMP):
        raise WireError(
            "inner_protocol",
            start + _PROTOCOL,
            f"must be {_IP_PROTOCOL[protocol]} ({protocol.name}) or 1 (ICMP), not {ip[_PROTOCOL]}",
        )
    options = cursor.take("inner_ip_options", ip_size - IPV4_HEADER_SIZE)
    transport = b"" if fragment & _OFFSET else _take_transport_header(cursor, ip[_PROTOCOL])
    headers_size = ip_size + len(transport)
    total = int.from_bytes(ip[_TOTAL_LENGTH], "big")
    if total < headers_size:
        raise WireError(
            "inner_total_length",
            start + _TOTAL_LENGTH.start,
            f"{total} bytes do not hold {headers_size} bytes of headers",
        )
    data = cursor.take("inner_data", total - headers_size)
    return ip + options + transport + data, headers_size


def _take6(cursor: Cursor, protocol: Protocol) -> tuple[bytes, int]:
    """Of IPv6, where no extension header stands before the transport's."""
    start = cursor.offset
    ip = cursor.take("inner_ip_header", IPV6_HEADER_SIZE)
    if ip[0] >> 4 != 6:
        raise WireError("inner_version", start, f"must be 6, not {ip[0] >> 4}")
    following = ip[_NEXT_HEADER]
    if following not in (_IP_PROTOCOL[protocol], _ICMP6):
        raise WireError(
            "inner_protocol",
            start + _NEXT_HEADER,
            f"must be {_IP_PROTOCOL[protocol]} ({protocol.name}) or 58 (ICMP), not {following}",
        )
    transport = _take_transport_header(cursor, following)
    length = int.from_bytes(ip[_PAYLOAD_LENGTH], "big")
    if length < len(transport):
        raise WireError(
            "inner_total_length",
            start + _PAYLOAD_LENGTH.start,
            f"{length} bytes do not hold {len(transport)} bytes of headers",
        )
    data = cursor.take("inner_data", length - len(transport))
    return ip + transport + data, IPV6_HEADER_SIZE + len(transport)


def _take_transport_header(cursor: Cursor, ip_protocol: int) -> bytes:
    if ip_protocol in (_ICMP, _ICMP6):
        return cursor.take("inner_icmp_header", ICMP_HEADER_SIZE)
    if ip_protocol == _IP_PROTOCOL[Protocol.UDP]:
        return cursor.take("inner_udp_header", UDP_HEADER_SIZE)
    start = cursor.offset
    fixed = cursor.take("inner_tcp_header", TCP_HEADER_SIZE)
    size = (fixed[_TCP_DATA_OFFSET] >> 4) * 4
    if size < TCP_HEADER_SIZE:
        raise WireError(
            "inner_data_offset", start + _TCP_DATA_OFFSET, f"{size} bytes are no TCP header"
        )
    return fixed + cursor.take("inner_tcp_options", size - TCP_HEADER_SIZE)
