# SPDX-License-Identifier: Apache-2.0
"""Takes endpoints: does what `taking` decides, with sockets, rows and datagrams."""

import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

import msgspec
import structlog

from ipos.agent.endpoints import image, row_orders, taking, tcp_repair
from ipos.agent.endpoints import transfer_message as t
from ipos.agent.endpoints.desk import Application
from ipos.agent.endpoints.giver import Send
from ipos.agent.endpoints.row_orders import MARK_FROZEN, Endpoint, Rows
from ipos.agent.endpoints.shipment import Receiver
from ipos.agent.endpoints.shown import Ends, Shown, connection_of
from ipos.agent.endpoints.taking import Do, Event, Step, Taking
from ipos.agent.endpoints.tcp_repair import Image, Unmovable
from ipos.agent.endpoints.transfer_message import Attempt
from ipos.agent.expiry.expiry_rules import ENDS
from ipos.agent.heartbeat.member import Member
from ipos.agent.heartbeat.membership import Members
from ipos.agent.loop.let_go import LetGo
from ipos.endpoint import desk_message
from ipos.endpoint.desk_message import Coming, Dropped, Live
from ipos.errors import IposError
from ipos.wire import ControlFlags

ARRIVALS_MAX = 1024
BYTES_MAX = 64 << 20
"""Of all states and images that are here and no application's yet."""
_UNKNOWN = "it knows nothing of it"
_KEYS = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Attempt)
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """Where an endpoint may go: an application, and where new connections find it."""

    application: Application
    endpoint: tuple[bytes, int]


Find = Callable[[Attempt], Place | str]
"""The place for an endpoint, or why there is none."""


@dataclass(slots=True)
class Arrival:
    """One attempt. application, sock None: an earlier agent's, and nobody has brought it yet."""

    attempt: Attempt
    giver: Member
    state: Receiver
    machine: Taking
    application: Application | None = None
    endpoint: tuple[bytes, int] = (bytes(4), 0)
    image: Receiver | None = None
    sock: socket.socket | None = None
    outcome: t.Outcome | None = None
    why: str = ""

    @property
    def key(self) -> bytes:
        return _KEYS[0].encode(self.attempt)

    @property
    def held(self) -> int:
        is_open = self.machine.step in (Step.OFFERED, Step.WAITING)
        return self.state.all_ + (self.image.all_ if self.image else 0) if is_open else 0


class Taker:
    """All that comes to this server. index_of: of the server with this first service address."""

    def __init__(
        self,
        rows: Rows,
        members: Members,
        send: Send,
        find: Find,
        index_of: Callable[[bytes], int],
        let_go: LetGo | None = None,
    ) -> None:
        self._rows, self._members, self._send = rows, members, send
        self._find, self._index_of = find, index_of
        self._let_go = let_go or LetGo()
        self._arrivals: dict[Attempt, Arrival] = {}
        self._owed: dict[tuple[Attempt, bool], tuple[Receiver, Member]] = {}

    @property
    def is_busy(self) -> bool:
        over = (Step.LIVE, Step.DROPPED)
        return any(one.machine.step not in over for one in self._arrivals.values())

    def recover(self, frozen: Iterable[tuple[bytes, Endpoint]], now_ns: int) -> None:
        """Take over what an earlier agent has left prepared. frozen: as `Rows.frozen` says."""
        for key, row in frozen:
            if row.state == row_orders.PREPARED:
                self._recovered(_attempt(key, row), row, now_ns)

    def _recovered(self, attempt: Attempt, row: Endpoint, now_ns: int) -> Arrival | None:
        givers = (one for one in self._members.by_ip.values() if one.index == row.giver)
        giver = next(givers, None)
        if giver is None:
            self._rows.order(row_orders.DROP, attempt)
            return None
        one = Arrival(attempt, giver, Receiver(0), taking.recovered(now_ns))
        self._arrivals[attempt] = one
        return one

    def hear(self, said: t.Offer | t.Piece | t.Outcome, member: Member, now_ns: int) -> None:
        one = self._known(said.attempt, now_ns)
        if one is not None and one.giver is not member:
            return
        if isinstance(said, t.Offer):
            self._offered(one, said, member, now_ns)
        elif isinstance(said, t.Piece):
            self._piece(one, said, member, now_ns)
        elif one is None:
            self._say(said.attempt, member, "DONE")
        elif not said.is_given:
            self._step(one, Event.ABORT, now_ns)
        elif one.machine.step is not Step.PREPARED or one.sock is not None:
            one.outcome = said
            self._step(one, Event.COMMIT, now_ns)

    def _known(self, attempt: Attempt, now_ns: int) -> Arrival | None:
        found = self._arrivals.get(attempt)
        if found is not None:
            return found
        for known, one in self._arrivals.items():
            if not known.nonce and _plain(known) == _plain(attempt):
                return one
        row = self._rows.endpoint(row_orders.key_of(attempt))
        if row is None or row.state != row_orders.PREPARED or row.migration != attempt.migration:
            return None
        return self._recovered(_plain(attempt), row, now_ns)

    def _offered(self, one: Arrival | None, said: t.Offer, member: Member, now_ns: int) -> None:
        if one is not None:
            self._step(one, Event.OFFER, now_ns)
            return
        found = self._find(said.attempt)
        if isinstance(found, Place) and not self._has_room(said.state):
            found = "too much is on its way there already"
        if isinstance(found, str):
            self._say(said.attempt, member, "REFUSED", found)
            return
        for other in list(self._arrivals.values()):
            if _is_before(other.attempt, said.attempt):  # its giver has given that attempt up
                self._step(other, Event.ABORT, now_ns)
        made = Arrival(
            said.attempt, member, Receiver(said.state), Taking(since_ns=now_ns), found.application,
            found.endpoint,
        )  # fmt: skip
        self._arrivals[said.attempt] = made
        if made.state.is_over:
            self._step(made, Event.STATE, now_ns)

    def _has_room(self, more: int) -> bool:
        held = sum(one.held for one in self._arrivals.values())
        return held + more <= BYTES_MAX and len(self._arrivals) < ARRIVALS_MAX

    def _piece(self, one: Arrival | None, said: t.Piece, member: Member, now_ns: int) -> None:
        if one is None:
            if said.is_image:
                self._say(said.attempt, member, "REFUSED", _UNKNOWN)
            return
        if said.is_image and one.machine.step is Step.WAITING and one.image is None:
            if not self._has_room(said.all_):
                return
            one.image = Receiver(said.all_)
        receiver = one.image if said.is_image else one.state
        if receiver is None or receiver.all_ != said.all_:
            if said.is_image:
                self._step(one, Event.IMAGE, now_ns)  # it was made, or dropped
            return
        if not receiver.take(said.at, said.bytes_):
            return
        if not receiver.is_over or receiver.all_ > t.PIECE:
            self._owed[said.attempt, said.is_image] = receiver, member
        if receiver.is_over:
            self._step(one, Event.IMAGE if said.is_image else Event.STATE, now_ns)

    def flush(self) -> None:
        """Say what has come, once for all that came in one go."""
        for (attempt, is_image), (receiver, member) in self._owed.items():
            self._send(t.Got(attempt, is_image, *receiver.got()), member)
        self._owed.clear()

    def _say(self, attempt: Attempt, to: Member, what: str, why: str = "") -> None:
        self._send(t.Said(attempt, what, why[: t.TEXT_MAX]), to)

    def tick(self, now_ns: int) -> None:
        for one in list(self._arrivals.values()):
            self._step(one, Event.TICK, now_ns)

    def left(self, application: Application, now_ns: int) -> None:
        for one in list(self._arrivals.values()):
            if one.application is application:
                self._step(one, Event.APPLICATION_GONE, now_ns)

    def _step(self, one: Arrival, event: Event, now_ns: int) -> None:
        one.machine, do = taking.step(one.machine, event, now_ns)
        for each in do:
            self._do(one, each, now_ns)
        if one.machine.step in (Step.LIVE, Step.DROPPED):
            one.state, one.image = Receiver(0), None
        if one.machine.step is Step.FORGOTTEN:
            self._arrivals.pop(one.attempt, None)

    def _do(self, one: Arrival, what: Do, now_ns: int) -> None:
        match what:
            case Do.MAKE:
                self._step(one, Event.MADE if self._made(one) else Event.NOT_MADE, now_ns)
            case Do.REFUSE:
                why = one.why or "its application there has gone"
                self._say(one.attempt, one.giver, "REFUSED", why)
            case Do.GO:
                self._go(one)
            case Do.DROP:
                self._drop(one)
            case Do.ASK:
                self._say(one.attempt, one.giver, "ASKED")
            case _:
                self._say(one.attempt, one.giver, what.name)

    def _made(self, one: Arrival) -> bool:
        """Make a socket of the image, and give it to its application."""
        attempt = one.attempt
        assert one.image is not None
        assert one.application is not None
        service = str(IPv4Address(attempt.service_ip)), attempt.service_port
        client = str(IPv4Address(attempt.client_ip)), attempt.client_port
        try:
            found = image.decode(one.image.data)
            block = found.block
            if (block.iss, block.migration_number) != (attempt.iss, attempt.migration):
                raise Unmovable("the image is of another attempt")
            one.sock = tcp_repair.begin(socket.AF_INET, MARK_FROZEN)
            if not self._taken(one, found):
                raise Unmovable("this server has something newer on the connection's ports")
            tcp_repair.restore(one.sock, found, service, client)
            file = desk_message.memory_file(found.unsent, one.state.data)
            try:
                coming = Coming(one.key, *client, len(found.unsent))
                if not one.application.say(coming, one.sock.fileno(), file):
                    raise Unmovable("its application there does not take it")
            finally:
                os.close(file)
        except (OSError, IposError) as error:
            one.why = str(error)
            return False
        one.image = None
        one.state = Receiver(0)
        return True

    def _taken(self, one: Arrival, found: Image) -> bool:
        block = found.block
        assert one.sock is not None
        return self._rows.order(
            row_orders.TAKE, one.attempt, one.endpoint,
            cookie=tcp_repair.cookie(one.sock), irs=block.irs, snd_una=block.snd_una,
            snd_nxt=block.snd_max, rcv_nxt=block.rcv_nxt, ts_recent=block.ts_recent,
            ts_sent=block.ts_last_sent, server=one.giver.index,
            first=self._index_of(block.first.to_bytes(4, "big")), mss=block.peer_mss,
            snd_wscale=block.snd_wscale, options=int(block.flags) & 0xFF,
        )  # fmt: skip

    def _go(self, one: Arrival) -> None:
        """It is ours: its packets may come, then it may speak, and its application is told."""
        said = one.outcome
        assert one.sock is not None
        assert said is not None
        try:
            done = self._rows.order(
                row_orders.LIVE, one.attempt, server=one.giver.index,
                first=self._index_of(said.first),
                options=int(ControlFlags.LOCATED) if said.located else 0,
            )  # fmt: skip
            if done and connection_of(one.sock) != _ends(one.attempt):
                raise Unmovable("its application has made another connection of it")
            if done:
                tcp_repair.go_live(one.sock)
        except (OSError, IposError) as error:
            done = False
            one.why = str(error)
        if not done:
            log.error("an endpoint that came is lost", reason=one.why or "its row has gone")
        if one.application is not None:
            one.application.say(Live(one.key) if done else Dropped(one.key))
        self._let_go(one.sock)

    def _drop(self, one: Arrival) -> None:
        try:
            self._rows.order(row_orders.DROP, one.attempt)
        except (OSError, IposError) as error:
            log.error("an endpoint that did not come is still here", reason=str(error))
        if one.sock is not None:
            self._let_go(one.sock)
        if one.application is not None:
            one.application.say(Dropped(one.key))

    def back(self, application: Application, key: bytes, shown: Shown, now_ns: int) -> bool:
        """An application has a socket that came while there was another agent, or while it had
        another line to this one. Whether the socket is kept."""
        attempt, sock = _attempt_of(key), shown.sock
        row = None if attempt is None else self._rows.endpoint(row_orders.key_of(attempt))
        if attempt is None or sock is None or not _is_of(row, attempt, shown.cookie):
            application.say(Dropped(key))
            return False
        assert row is not None
        application.proven = True
        if row.state == row_orders.ATTACHED:
            if not row.flags & row_orders.FROZEN:  # else it is on its way to another server
                tcp_repair.go_live(sock)
            application.say(Live(key))
            return False
        one = self._known(attempt, now_ns)
        if one is None or one.machine.step is not Step.PREPARED:
            application.say(Dropped(key))
            return False
        if one.sock is not None:
            one.application = application
            return False
        # Later the application is to be told of it by the name that it knows.
        self._arrivals.pop(one.attempt, None)
        one.attempt, one.application, one.sock = attempt, application, sock
        self._arrivals[attempt] = one
        return True

    def close(self) -> None:
        for one in self._arrivals.values():
            if one.sock is not None:
                one.sock.close()


def _attempt_of(key: bytes) -> Attempt | None:
    """None for what is no key of an arrival."""
    try:
        found = _KEYS[1].decode(key)
    except msgspec.MsgspecError:
        return None
    return found if len(found.client_ip) == len(found.service_ip) == 4 else None


def _is_of(row: Endpoint | None, attempt: Attempt, cookie: int) -> bool:
    """Whether the row is of this socket, and of this attempt."""
    of = (attempt.migration, attempt.iss, cookie)
    return row is not None and (row.migration, row.handshake.iss, row.cookie) == of


def _ends(attempt: Attempt) -> Ends:
    return attempt.client_ip, attempt.client_port, attempt.service_ip, attempt.service_port


def _plain(attempt: Attempt) -> Attempt:
    return msgspec.structs.replace(attempt, nonce=0)


def _is_before(other: Attempt, attempt: Attempt) -> bool:
    """Whether it is an earlier attempt of the same connection."""
    there = msgspec.structs.replace(attempt, nonce=other.nonce, migration=other.migration)
    return there == other and other.migration <= attempt.migration and other != attempt


def _attempt(key: bytes, row: Endpoint) -> Attempt:
    ends = ENDS.read(key)
    return Attempt(
        ends.client_ip, int.from_bytes(ends.client_port, "big"), ends.service_ip,
        int.from_bytes(ends.service_port, "big"), row.handshake.iss, row.migration,
    )  # fmt: skip
