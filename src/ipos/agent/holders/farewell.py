# SPDX-License-Identifier: Apache-2.0
"""Speaks for this server when its agent has ended and its data plane is to be removed.

A server that is silent while its kernel runs is believed to serve. So the command that removes the
data plane first hands the server's addresses over, in place of the agent, while its data plane
still serves, and then says that the server is down.

    it says that it is in maintenance, and holds its addresses    the others want them
    the same, but it holds none: XDP answers no ARP               others ask on front, and take them

This goes on until the others say that they hold them all, and routers have heard it. Where routers
are told of addresses, they are told that none is here any more, and then have time to hear it.
"""

import dataclasses
import socket
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import msgspec

from ipos.abi.rows import AddressKey, AddressKey6, Arp, ServerState, Settings
from ipos.agent.heartbeat import message
from ipos.agent.heartbeat.message import Rejected, State
from ipos.agent.heartbeat.transport import Port
from ipos.agent.holders import announcements
from ipos.agent.snapshot.snapshot import Snapshot
from ipos.closing import Closing
from ipos.config import load, read_secret, secret_path
from ipos.errors import IposError
from ipos.handshake.keys import key_ring
from ipos.ip_family import FOUR_MAX, Address, address_of, numbers
from ipos.kernel.maps import Tables

BEAT_S = 0.1
WANTED_S = 0.25
"""For so long it still holds its addresses, and the others come to want them."""
PATIENCE_S = 8.0
"""Then the addresses that nobody has taken are given up. On an idle machine 0.6 s are enough."""
HEARD_S = 0.4
"""From an address's first announcement to its third."""


class Voice(Closing):
    """Speaks for this server to all others that were heard. IposError or OSError if it cannot."""

    def __init__(self, snapshot: Snapshot, settings: Settings) -> None:
        file = Path(snapshot.config)
        self.config = config = load(file)
        back = {server.server: server.back_ip for server in snapshot.servers}
        if config.server.name not in back:
            raise IposError(
                f"{file} is of the server {config.server.name}, which is none of those heard of "
                f"({', '.join(sorted(back))})"
            )
        self.me = IPv4Address(back[config.server.name])
        self.others = [one for one in back.values() if one != str(self.me)]
        self.addresses = numbers(config.server.addresses)
        self._key = key_ring(read_secret(secret_path(config, file)), config.farm.name).main.state
        self._state = State(
            farm=config.farm.name,
            server=config.server.name,
            boot=_wall_ms(),
            sequence=0,
            sent_ms=0,
            state=int(ServerState.DOWN),
            back_ip=int(self.me),
            mac=settings.back_mac,
            addresses=self.addresses,
        )
        self._out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._out.bind((str(self.me), 0))

    def say(self, state: ServerState, holds: list[int] | None = None) -> None:
        """Tell every server that was heard."""
        self._state = msgspec.structs.replace(
            self._state, state=int(state), holds=holds, sequence=self._state.sequence + 1,
            sent_ms=_wall_ms(),
        )  # fmt: skip
        for datagram in message.datagrams(self._state, self._key):
            for address in self.others:
                self._out.sendto(datagram, (address, message.PORT))

    def heard(self, datagram: bytes) -> State | None:
        """The state in a datagram of another server, None for one that is not believed."""
        try:
            state = message.decode(datagram, self._key)
        except Rejected:
            return None
        return state if str(IPv4Address(state.back_ip)) in self.others else None

    def close(self) -> None:
        self._out.close()


def hand_over(
    voice: Voice, tables: Tables, back: str, self_index: int, sleep: Callable[[float], None]
) -> list[Address]:
    """Hand this server's addresses over. Returns those that no server has taken in time.

    `back` is the name of the back interface. IposError, MapError or OSError: it is not possible.
    """
    left = set(voice.addresses)
    if voice.config.farm.announce == "bgp":
        _withdraw(voice, tables, self_index, sleep)
        return []
    if voice.config.farm.announce != "arp" or not voice.others:
        return []
    with Port(back) as port:
        _take_nothing(tables, self_index)
        began = heard = time.monotonic()
        while time.monotonic() - began < WANTED_S:
            voice.say(ServerState.MAINT, voice.addresses)
            sleep(BEAT_S)
        _answer_for_none(tables, voice.addresses)
        while time.monotonic() - began < PATIENCE_S and (
            left or time.monotonic() - heard < HEARD_S
        ):
            voice.say(ServerState.MAINT, [])
            sleep(BEAT_S)
            before = len(left)
            for datagram, _ in port.take():
                state = voice.heard(datagram)
                left -= set((state.holds if state else None) or ())
            heard = time.monotonic() if len(left) != before else heard
    return [address_of(address) for address in sorted(left)]


def _withdraw(
    voice: Voice, tables: Tables, self_index: int, sleep: Callable[[float], None]
) -> None:
    """Tell routers that no address is here, while this server gives on what still comes."""
    _take_nothing(tables, self_index)
    failed = announcements.teller(voice.config)(())
    until = time.monotonic() + announcements.SETTLE_NS / 1e9
    while time.monotonic() < until:
        voice.say(ServerState.MAINT, [])
        sleep(BEAT_S)
    if failed:
        raise IposError(failed)


def _take_nothing(tables: Tables, self_index: int) -> None:
    """What still comes here is for others."""
    row = tables.servers.get(self_index)
    if row is not None:
        tables.servers.put(self_index, dataclasses.replace(row, state=ServerState.MAINT))


def _answer_for_none(tables: Tables, addresses: list[int]) -> None:
    """The ARP requests and neighbour solicitations for the addresses that are heard on front."""
    for address in addresses:
        if address > FOUR_MAX:
            _silence6(tables, IPv6Address(address))
            continue
        key = AddressKey(IPv4Address(address), 0, 0)
        row = tables.addresses.get(key)
        if row is not None:
            tables.addresses.put(key, dataclasses.replace(row, arp=Arp.SILENT))


def _silence6(tables: Tables, address: IPv6Address) -> None:
    key = AddressKey6(address, 0, 0)
    row = tables.six.addresses.get(key) if tables.has_six else None
    if row is not None:
        tables.six.addresses.put(key, dataclasses.replace(row, arp=Arp.SILENT))


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
