# SPDX-License-Identifier: Apache-2.0
"""Migration with state, of one agent: its socket for applications, its UDP port, both sides.

Datagrams are taken in as they come, unlike states, because a connection stands still meanwhile. The
clock of unanswered datagrams ticks only while something is on its way.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import structlog

from ipos.agent.endpoints import transfer_message as t
from ipos.agent.endpoints.desk import Application, Desk
from ipos.agent.endpoints.giver import Gift, Giver
from ipos.agent.endpoints.registration import Registration
from ipos.agent.endpoints.row_orders import Rows, obstacle
from ipos.agent.endpoints.shown import Shown
from ipos.agent.endpoints.taker import Place, Taker
from ipos.agent.endpoints.transfer_message import PORT, SIZE_MAX, Attempt
from ipos.agent.expiry.expiry_rules import ENDS
from ipos.agent.heartbeat.datagram_tags import Key
from ipos.agent.heartbeat.member import Member
from ipos.agent.heartbeat.membership import Members
from ipos.agent.host.own_state import boottime_ns
from ipos.agent.loop.let_go import LetGo
from ipos.closing import Closing
from ipos.config.schema import Config
from ipos.endpoint import desk_message as m
from ipos.errors import IposError
from ipos.kernel.maps import Tables

TICK_S = 0.005
_DRAIN_S = 0.5
_WANT_AGAIN_S = 3.0
"""How often applications are asked for all that they have, while their server drains: an endpoint
may have been refused, and an application may have come."""
_AT_ONCE = 128
"""Datagrams before others have their turn."""
WISH_S = 10.0
_ROOM = 4 << 20
_SO_RCVBUFFORCE = 33
_IPV4 = 4
log = structlog.get_logger()


class Endpoints(Closing):
    """Made inside the server's network namespace. config: the one in force; drains: whether this
    server is to lose its connections. IposError when a socket cannot be made."""

    def __init__(
        self,
        desk: Path,
        back: str,
        tables: Tables,
        members: Members,
        key: Key,
        config: Callable[[], Config],
        drains: Callable[[], bool],
    ) -> None:
        self._tables, self._members, self._key = tables, members, key
        self._config, self._drains = config, drains
        self._rows = Rows(tables.directory, lambda: tables.settings.get(0))
        let_go = LetGo()
        self._giver = Giver(self._rows, members, self._send, self._address_of, let_go)
        self._taker = Taker(self._rows, members, self._send, self._place, self._index_of, let_go)
        self._registration = Registration(lambda: self._desk.applications, config)
        self._giver.ended = self._ended
        self._wishes: dict[tuple[bytes, int], asyncio.Future[str]] = {}
        self._ticking: asyncio.TimerHandle | None = None
        self._port = _port(back)
        try:
            self._desk = Desk(desk, self._hear, self._left, let_go)
        except IposError:
            self._port.close()
            self._rows.close()
            raise

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        frozen = await asyncio.to_thread(self._rows.frozen)
        self._taker.recover(frozen, boottime_ns())
        loop.add_reader(self._port.fileno(), self._readable)
        self._desk.start()
        self._tick()
        due = loop.time()
        try:
            while True:
                await asyncio.sleep(_DRAIN_S)
                if not self._drains():
                    due = loop.time()
                elif loop.time() >= due:
                    self._want_all()
                    due = loop.time() + _WANT_AGAIN_S
        finally:
            loop.remove_reader(self._port.fileno())
            if self._ticking is not None:
                self._ticking.cancel()

    # ---- datagrams ---------------------------------------------------------------------------

    def _send(self, said: t.Message, to: Member) -> None:
        with suppress(OSError):
            datagram = t.encode(said, _wall_ms(), self._key)
            self._port.sendto(datagram, (str(to.back_ip), PORT))
        self._expect()

    def _readable(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                datagram, (host, port, *_) = self._port.recvfrom(SIZE_MAX)
            except OSError:
                break
            member = self._members.by_ip.get(IPv4Address(host))
            said = t.decode(datagram, _wall_ms(), self._key) if member and port == PORT else None
            if member is None or said is None or member is self._members.myself:
                continue
            self._attempt(partial(self._take_in, said, member))
        self._taker.flush()

    def _take_in(self, said: t.Message, member: Member) -> None:
        if isinstance(said, t.Got | t.Said):
            self._giver.hear(said, member, boottime_ns())
        else:
            self._taker.hear(said, member, boottime_ns())

    def _attempt(self, step: Callable[[], None]) -> None:
        """What the machine refuses is told again, by whoever waits for it."""
        self._attempt_quietly(step)
        self._expect()

    def _expect(self) -> None:
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._ticking = None
        now_ns = boottime_ns()
        self._attempt_quietly(lambda: self._giver.tick(now_ns))
        self._attempt_quietly(lambda: self._taker.tick(now_ns))
        loop = asyncio.get_running_loop()
        wait_s = TICK_S if self._giver.is_busy or self._taker.is_busy else 1.0
        if self._ticking is not None:
            self._ticking.cancel()
        self._ticking = loop.call_later(wait_s, self._tick) if wait_s < 1 else None

    def _attempt_quietly(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (OSError, IposError) as error:
            log.error("an endpoint is in trouble on its way", reason=str(error))

    # ---- applications ------------------------------------------------------------------------

    def _hear(self, one: Application, said: m.Message, shown: Shown) -> bool:
        """Whether the socket that was shown is kept."""
        if isinstance(said, m.Register):
            self._registration.register(one, said, shown)
        elif isinstance(said, m.Give):
            return self._give(one, said, shown)
        elif isinstance(said, m.Again):
            return self._kept(lambda: self._giver.again(one, said.number, shown))
        elif isinstance(said, m.Back):
            now_ns = boottime_ns()
            return self._kept(lambda: self._taker.back(one, said.key, shown, now_ns))
        return False

    def _give(self, one: Application, said: m.Give, shown: Shown) -> bool:
        try:
            self._giver.begin(one, said.number, said.to, shown, boottime_ns())
        except (OSError, IposError) as error:
            one.say(m.Given(said.number, False, str(error)[: m.TEXT_MAX]))
            return False
        self._expect()
        return True

    def _kept(self, step: Callable[[], bool]) -> bool:
        kept: list[bool] = []
        self._attempt(lambda: kept.append(step()))
        return any(kept)

    def _left(self, one: Application) -> None:
        now_ns = boottime_ns()
        self._attempt(lambda: self._giver.left(one, now_ns))
        self._attempt(lambda: self._taker.left(one, now_ns))

    def _place(self, attempt: Attempt) -> Place | str:
        """Which application here takes an endpoint, or why none does."""
        config = self._config()
        for service in config.service:
            if service.port != attempt.service_port or service.protocol != "tcp":
                continue
            for one in self._registration.there():
                if one.takes and service.name in one.services:
                    own = IPv4Address(config.server.addresses[0]).packed
                    return Place(one, (own, service.listener.port))
            return f"no application of service {service.name} takes endpoints there"
        return f"it has no service at port {attempt.service_port}"

    # ---- wishes ------------------------------------------------------------------------------

    async def migrate(self, client: str, to: str) -> None:
        """Ask the application that has a client's connection to give it to the server `to`.

        client: address and port. IposError when that cannot be, or was refused.
        """
        address, _, port = client.rpartition(":")
        try:
            packed, number = ip_address(address.strip("[]")).packed, int(port)
            # A full table takes seconds.
            found = await asyncio.to_thread(self._rows.of_client, packed, number)
        except (ValueError, OverflowError):
            raise IposError(
                f"{client} is no address and port, such as 198.51.100.7:50123"
            ) from None
        if len(packed) != _IPV4:
            raise IposError("connections over IPv6 do not migrate with state yet")
        if not found:
            raise IposError(f"this server has no connection of {client}")
        key, row = found[0]
        if why := obstacle(row):
            raise IposError(why)
        asked = self._want(key, m.Wanted(address.strip("[]"), number, to))
        if not asked:
            raise IposError("its application has not asked to hear of wishes (ipos.endpoint)")
        loop = asyncio.get_running_loop()
        outcome = self._wishes.setdefault((packed, number), loop.create_future())
        try:
            why = await asyncio.wait_for(asyncio.shield(outcome), WISH_S)
        except TimeoutError:
            raise IposError(
                f"its application was asked, and has not given it away within {WISH_S:.0f} s"
            ) from None
        finally:
            self._wishes.pop((packed, number), None)
        if why:
            raise IposError(why)

    def _want(self, key: bytes, wish: m.Wanted) -> bool:
        port = int.from_bytes(ENDS.read(key).service_port, "big")
        named = {each.name for each in self._config().service if each.port == port}
        told = [
            one.say(wish)
            for one in self._registration.there()
            if not one.takes and one.services & named
        ]
        return any(told)

    def _want_all(self) -> None:
        for one in self._registration.there():
            if not one.takes:
                one.say(m.Wanted("", 0, ""))

    def _ended(self, gift: Gift, is_given: bool) -> None:
        outcome = self._wishes.get((gift.attempt.client_ip, gift.attempt.client_port))
        if outcome is not None and not outcome.done():
            outcome.set_result("" if is_given else gift.why)

    # ---- servers -----------------------------------------------------------------------------

    def _address_of(self, index: int) -> bytes:
        for member in self._members.by_ip.values():
            if member.index == index and member.state is not None and member.state.addresses:
                return member.state.addresses[0].to_bytes(4, "big")
        return bytes(4)

    def _index_of(self, address: bytes) -> int:
        number = int.from_bytes(address, "big")
        for member in self._members.by_ip.values():
            if member.state is not None and number in member.state.addresses[:1]:
                return member.index
        return 0

    def close(self) -> None:
        self._desk.close()
        self._giver.close()
        self._taker.close()
        self._rows.close()
        self._port.close()


def _port(interface: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        made.setblocking(False)
        made.bind(("", PORT))
    except OSError as error:
        made.close()
        raise IposError(f"cannot take UDP port {PORT} on {interface}: {error.strerror}") from None
    return made


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
