# SPDX-License-Identifier: Apache-2.0
"""Packets and frames that the agent sends for the data plane when no packet comes that could cause
them.

These are a reset or a response to a client, at the sequence number after our SYN-ACK, from the
service address, by the next hop that its segments came from; and the `CLOSED` frame to a first
server. They are sent as whole frames, past routes and firewalls, as the data plane's own frames
are.
"""

import dataclasses
import os
import socket
import struct
import sys
from ipaddress import IPv4Address, ip_address
from pathlib import Path

from ipos.abi.layout import constant, layout
from ipos.abi.rows import Options, Settings, SettingsFlags, Uplink
from ipos.agent.expiry.expiry_rules import HANDSHAKE, Ends, Handshake, Held, Owned
from ipos.agent.network.interfaces import NetworkError
from ipos.closing import Closing
from ipos.handshake.options import OUR_WINDOW_SCALE, Timestamps, write_timestamps
from ipos.handshake.segment import Flag, Segment
from ipos.kernel.hooks import Hook, open_pin
from ipos.kernel.libbpf import syscall
from ipos.wire import Frame, Header, NoticePacket, PacketType, Protocol, VlanTag, ethernet

EVERYBODY = b"\xff" * 6
_ETHERTYPE_VLAN = 0x8100
_ETHERTYPE_IP, _ETHERTYPE_IPV6 = 0x0800, 0x86DD
_NO_HANDSHAKE = bytes(layout("ipos_handshake").size)
MARK_LATE = constant("IPOS_MARK_LATE")
_WINDOW = constant("IPOS_WINDOW")
_SK_BUFF_LEN, _SK_BUFF_MARK = 192, 8  # struct __sk_buff, and where its mark is
_TAKEN = 4  # TC_ACT_STOLEN
_REASON, _REASON6 = 14 + 16 + 6, 14 + 32 + 18
"""Where a notice has its reason in a frame without a VLAN tag."""
_TAG = 4


def is_four(ends: Ends) -> bool:
    """Whether it is a connection by IPv4."""
    return len(ends.service_ip) == 4


def reset_frame(settings: Settings, ends: Ends, client_mac: bytes, iss: int) -> bytes:
    """RST to a client that got nothing but our SYN-ACK. iss: the SYN-ACK's sequence number."""
    return _on_front(settings, ends, client_mac, _segment(ends, iss, Flag.RST))


def reset_packet(ends: Ends, number: int) -> bytes:
    """RST to a client that has acknowledged all before this number."""
    return _segment(ends, number - 1, Flag.RST).packet()


def rousing_packet(ends: Ends, row: Held) -> bytes:
    """An old segment without data, upon which a client acknowledges all that it has."""
    handshake = HANDSHAKE.read(row.hs)
    segment = dataclasses.replace(
        _segment(ends, handshake.iss - 1, Flag.ACK),
        ack=handshake.irs + 1 + row.acknowledged & 0xFFFF_FFFF,
        window=_window(Options(handshake.options)),
        options=_stamps(handshake),
    )
    return segment.packet()


def answer_frame(settings: Settings, ends: Ends, row: Held, answer: bytes) -> bytes:
    """A whole response and FIN, which acknowledges all that the row has of the client."""
    handshake = HANDSHAKE.read(row.hs)
    segment = dataclasses.replace(
        _segment(ends, handshake.iss, Flag.ACK | Flag.PSH | Flag.FIN),
        ack=row.client_end,
        window=_window(Options(handshake.options)),
        options=_stamps(handshake),
        data=answer,
    )
    return _on_front(settings, ends, row.client_mac, segment)


def _stamps(handshake: Handshake) -> bytes:
    if Options.TIMESTAMPS not in Options(handshake.options):
        return b""
    return write_timestamps(Timestamps(handshake.ts_sent, handshake.ts_recent))


def _window(agreed: Options) -> int:
    return -(-_WINDOW >> (OUR_WINDOW_SCALE if Options.WSCALE in agreed else 0))


def _segment(ends: Ends, iss: int, flags: Flag) -> Segment:
    """A segment to a client that got nothing but our SYN-ACK."""
    return Segment(
        source=ip_address(ends.service_ip),
        source_port=int.from_bytes(ends.service_port, "big"),
        destination=ip_address(ends.client_ip),
        destination_port=int.from_bytes(ends.client_port, "big"),
        seq=iss + 1 & 0xFFFF_FFFF,
        flags=flags,
    )


def uplink_of(settings: Settings, ends: Ends) -> Uplink | None:
    """The uplink that a connection's service address belongs to; None where there is one front."""
    address = int.from_bytes(ends.service_ip, "big")
    for one in settings.uplink if is_four(ends) else ():
        if address & one.mask == one.prefix:
            return one
    return None


def front_of(settings: Settings, ends: Ends, front: str) -> str:
    """The name of the interface by which a connection's client is answered."""
    uplink = uplink_of(settings, ends)
    return front if uplink is None else socket.if_indextoname(uplink.ifindex)


def _on_front(settings: Settings, ends: Ends, client_mac: bytes, segment: Segment) -> bytes:
    tag = b""
    if settings.front_vlan:
        tag = struct.pack("!HH", _ETHERTYPE_VLAN, settings.front_vlan)
    kind = struct.pack("!H", _ETHERTYPE_IP if is_four(ends) else _ETHERTYPE_IPV6)
    uplink = uplink_of(settings, ends)
    own_mac = settings.front_mac if uplink is None else uplink.mac
    return client_mac + own_mac + tag + kind + segment.packet()


def closed_frame(settings: Settings, ends: Ends, row: Owned, mac: bytes) -> bytes:
    """Type 4 for an endpoint, to the first server with this back MAC address."""
    return _closed(settings, ends, row.endpoint_ip, row.endpoint_port, row.hs, mac)


def tell_late(settings: Settings, ends: Ends, row: Held, programs: Path) -> None:
    """Tell the data plane that the time of what it holds of a connection is over.

    Only the data plane knows whether something came meanwhile, and when the connection of a later
    head is quiet. So a frame that names the connection runs through its program; it goes over no
    wire. The thread must be in the server's network namespace. OSError from the kernel, PinError
    when the data plane has gone.
    """
    _tell(ends, _closed(settings, ends, bytes(4), bytes(2), row.hs, settings.back_mac), programs)


def tell_unattached(
    settings: Settings, ends: Ends, row: Owned, older_ms: int, programs: Path
) -> None:
    """Make the data plane forget an endpoint of that age without a socket, as above.

    A socket may be made while the agent reads, so only the data plane can judge.
    """
    age, to = older_ms.to_bytes(4, "big"), settings.back_mac
    frame = _closed(settings, ends, age, bytes(2), row.hs, to, PacketType.REFUSED)
    _tell(ends, frame, programs)


def tell_idle(settings: Settings, ends: Ends, hs: bytes, holder: int, programs: Path) -> None:
    """Make the data plane hand an endpoint back to its first server, if it is idle, as above.

    An endpoint that waits here without an application goes to the server with the index `holder`.
    """
    number, to = holder.to_bytes(4, "big"), settings.back_mac
    frame = _closed(settings, ends, number, bytes(2), hs, to, PacketType.ACKNOWLEDGEMENT)
    _tell(ends, frame, programs)


def tell_taken(settings: Settings, ends: Ends, role: int, programs: Path) -> None:
    """Tell the data plane that the agent has taken a row of a connection away, as above.

    role: `enum ipos_role`. It counts the rows, and asks a table as long as one may be there.
    """
    _tell(ends, taken_frame(settings, ends, role), programs)


def taken_frame(settings: Settings, ends: Ends, role: int) -> bytes:
    number, to = role.to_bytes(4, "big"), settings.back_mac
    return _closed(settings, ends, number, bytes(2), _NO_HANDSHAKE, to, PacketType.MOVED)


def take_held(settings: Settings, ends: Ends, row: Held, programs: Path) -> bool:
    """Make the data plane take a held request out of its table, if it is as it was read, as above.

    Only there it is certain that no CPU is working on the row. False when it has changed since, or
    is in use.
    """
    nothing, to = bytes(4), settings.back_mac
    frame = bytearray(_closed(settings, ends, nothing, bytes(2), row.hs, to, PacketType.REFUSED))
    seen = (row.last_seen_ns & 0xFFFF_FFFF).to_bytes(4, "big")
    read = b"\0\1" + seen + row.created_ns.to_bytes(8, sys.byteorder)
    at = (_REASON if is_four(ends) else _REASON6) + (_TAG if settings.back_vlan else 0)
    frame[at : at + len(read)] = read
    return _tell(ends, bytes(frame), programs) == _TAKEN


def _tell(ends: Ends, frame: bytes, programs: Path) -> int:
    """Run the frame through the program of its family. Returns what the program returns."""
    hook = Hook.INGRESS if is_four(ends) else Hook.INGRESS6
    context = bytearray(_SK_BUFF_LEN)
    struct.pack_into("=I", context, _SK_BUFF_MARK, MARK_LATE)
    program = open_pin(programs / hook.program, "the program that answers")
    try:
        return syscall.prog_test_run(program, frame, bytes(context)).retval
    finally:
        os.close(program)


def _closed(
    settings: Settings,
    ends: Ends,
    endpoint_ip: bytes,
    endpoint_port: bytes,
    hs: bytes,
    mac: bytes,
    kind: PacketType = PacketType.CLOSED,
) -> bytes:
    notice = NoticePacket(
        header=Header(
            source_ip=ip_address(ends.client_ip),
            source_port=int.from_bytes(ends.client_port, "big"),
            destination_ip=IPv4Address(endpoint_ip),
            destination_port=int.from_bytes(endpoint_port, "big"),
            type=kind,
            protocol=Protocol.TCP if is_four(ends) else Protocol.TCP6,
        ),
        service_ip=ip_address(ends.service_ip),
        service_port=int.from_bytes(ends.service_port, "big"),
        iss=HANDSHAKE.read(hs).iss,
    )
    frame = Frame(
        destination_mac=mac,
        source_mac=settings.back_mac,
        vlan=VlanTag(id=settings.back_vlan) if settings.back_vlan else None,
        ethertype=settings.ethertype,
        packet=notice,
    )
    return ethernet.pad(ethernet.encode(frame, _tag_key(settings)))


def _tag_key(settings: Settings) -> bytes | None:
    if SettingsFlags.AUTHENTICATE not in settings.flags:
        return None
    return struct.pack("<QQ", *settings.frame_key)


class FrameSocket(Closing):
    """Sends whole frames in the network namespace it is made in; it receives nothing."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0
            )
        except OSError as error:
            raise NetworkError(f"cannot send frames: {error.strerror}; run as root") from None

    def send(self, interface: str, frame: bytes) -> bool:
        """False when the interface does not take it: it is down, or its queue is full."""
        try:
            self._socket.sendto(frame, (interface, 0))
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()
