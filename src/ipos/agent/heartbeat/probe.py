# SPDX-License-Identifier: Apache-2.0
"""Probes: a data plane answers them, so a server is known to be alive whatever its agent does.

A probe (`PROBE`) is a frame on the back LAN with 12 random bytes; the data plane that is asked
repeats them in its answer (`PROBE_ANSWER`), under the farm's tag. `Probes` is pure and keeps what
was asked: an answer counts once, in time, and from the server that was asked. So an answer that is
played back proves nothing, and neither does one of a machine that runs without its data plane.
"""

import secrets
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from ipos.abi.rows import Settings, SettingsFlags
from ipos.agent.heartbeat.message import State
from ipos.agent.network.interfaces import NetworkError
from ipos.closing import Closing
from ipos.wire import (
    Frame,
    Header,
    PacketType,
    ProbePacket,
    Protocol,
    StatePacket,
    VlanTag,
    WireError,
    ethernet,
)

NONCE_SIZE = 12
WAIT_NS = 1_000_000_000
"""An answer that comes later says nothing about now."""
_ETHERTYPE_LEAST = 0x0600
_ETH_P_802_2 = 0x0004
_EVERYBODY = b"\xff" * 6
_NOWHERE = IPv4Address(0)


@dataclass(slots=True)
class Probes:
    """The questions that were not answered yet: nonce -> (which server, when)."""

    random: Callable[[int], bytes] = secrets.token_bytes
    _asked: dict[bytes, tuple[IPv4Address, int]] = field(default_factory=dict)

    def question(
        self, settings: Settings, whom: IPv4Address, address: IPv4Address, mac: bytes, now_ns: int
    ) -> bytes:
        """The frame that asks the server `whom`, whose first service address is `address`."""
        late = [nonce for nonce, (_, when) in self._asked.items() if now_ns - when > WAIT_NS]
        for nonce in late:
            del self._asked[nonce]
        nonce = self.random(NONCE_SIZE)
        self._asked[nonce] = (whom, now_ns)
        frame = Frame(
            destination_mac=mac,
            source_mac=settings.back_mac,
            vlan=VlanTag(id=settings.back_vlan) if settings.back_vlan else None,
            ethertype=settings.ethertype,
            packet=ProbePacket(
                header=Header(
                    source_ip=settings.self_ip,
                    source_port=0,
                    destination_ip=address,
                    destination_port=0,
                    type=PacketType.PROBE,
                    protocol=Protocol.TCP,
                ),
                nonce=nonce,
            ),
        )
        return ethernet.pad(ethernet.encode(frame, _key(settings)))

    def answer(
        self, settings: Settings, raw: bytes, now_ns: int
    ) -> tuple[IPv4Address, bytes] | None:
        """The server whose data plane has answered us, and its MAC; None for any other frame."""
        frame = _decoded(settings, raw)
        if frame is None:
            return None
        packet = frame.packet
        if packet.header.type is not PacketType.PROBE_ANSWER or not isinstance(packet, ProbePacket):
            return None
        whom, when = self._asked.pop(packet.nonce, (None, 0))
        if whom is None or now_ns - when > WAIT_NS:
            return None
        return whom, frame.source_mac


def _decoded(settings: Settings, raw: bytes) -> Frame | None:
    """What a member says: also one that still makes its tags under the other of two keys."""
    keys = [_key(settings)]
    if SettingsFlags.KEYS_CHANGE in settings.flags and keys[0] is not None:
        keys.append(struct.pack("<QQ", *settings.other_frame_key))
    for key in keys:
        try:
            return ethernet.decode(raw, key, ethertype=settings.ethertype)
        except WireError:
            continue
    return None


def _key(settings: Settings) -> bytes | None:
    if SettingsFlags.AUTHENTICATE not in settings.flags:
        return None
    return struct.pack("<QQ", *settings.frame_key)


def numbers(settings: Settings, state: State) -> bytes | None:
    """The frame that tells all data planes what has changed; None where frames have no tag."""
    key = _key(settings)
    if key is None:
        return None
    frame = Frame(
        destination_mac=_EVERYBODY,
        source_mac=settings.back_mac,
        vlan=VlanTag(id=settings.back_vlan) if settings.back_vlan else None,
        ethertype=settings.ethertype,
        packet=StatePacket(
            header=Header(
                source_ip=IPv4Address(state.back_ip),
                source_port=0,
                destination_ip=_NOWHERE,
                destination_port=0,
                type=PacketType.STATE,
                protocol=Protocol.TCP,
            ),
            boot=state.boot,
            sequence=state.sequence,
            memory_available=state.memory_available,
            bandwidth_available=state.bandwidth_available,
            tcp_connections=state.tcp_connections,
            memory_short=state.memory_short,
            bandwidth_short=state.bandwidth_short,
            cpu_permille=state.cpu_permille,
            edition=state.edition,
            sent_s=state.sent_ms // 1000,
        ),
    )
    return ethernet.encode(frame, key)


class Prober(Closing):
    """Asks on one interface. The data plane passes nothing but answers up to its socket."""

    def __init__(self, interface: str, ethertype: int) -> None:
        self._interface = interface
        # Linux takes types below 0x0600 for lengths of IEEE 802.3, and names the protocol so.
        protocol = ethertype if ethertype >= _ETHERTYPE_LEAST else _ETH_P_802_2
        self._probes = Probes()
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            self._socket = socket.socket(socket.AF_PACKET, kind, 0)
            self._socket.bind((interface, protocol))
        except OSError as error:
            raise NetworkError(f"cannot send probes on {interface}: {error.strerror}") from None

    def fileno(self) -> int:
        return self._socket.fileno()

    def ask(
        self, settings: Settings, whom: IPv4Address, address: IPv4Address, mac: bytes, now_ns: int
    ) -> None:
        """Send a probe to the server with this back MAC address."""
        self.send(self._probes.question(settings, whom, address, mac, now_ns))

    def send(self, frame: bytes) -> None:
        """Send a frame of ours to where it says."""
        try:
            self._socket.sendto(frame, (self._interface, 0))
        except OSError:
            pass  # an interface that is down gives no sign of life

    def answers(self, settings: Settings, now_ns: int) -> Iterator[tuple[IPv4Address, bytes]]:
        """All answers that wait: the server, and the MAC address that it came from."""
        while True:
            try:
                raw = self._socket.recv(256)
            except BlockingIOError:
                return
            except OSError:  # the interface went down: said once, and it may come back
                continue
            found = self._probes.answer(settings, raw, now_ns)
            if found is not None:
                yield found

    def close(self) -> None:
        self._socket.close()
