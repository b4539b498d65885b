# SPDX-License-Identifier: Apache-2.0
"""Gives endpoints away: does what `giving` decides, with sockets, rows and datagrams."""

import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv4Address

import structlog

from ipos.agent.endpoints import destination, giving, image, row_orders, tcp_repair
from ipos.agent.endpoints import transfer_message as t
from ipos.agent.endpoints.desk import Application
from ipos.agent.endpoints.giving import Do, Event, Giving, Step
from ipos.agent.endpoints.row_orders import MARK_FROZEN, Endpoint, Rows
from ipos.agent.endpoints.shipment import Sender
from ipos.agent.endpoints.shown import Ends, Shown, connection_of
from ipos.agent.endpoints.transfer_message import IMAGE_MAX, Attempt
from ipos.agent.heartbeat.member import Age, Member
from ipos.agent.heartbeat.membership import Members
from ipos.agent.host.own_state import boottime_ns
from ipos.agent.loop.let_go import LetGo
from ipos.endpoint.desk_message import Given
from ipos.errors import IposError
from ipos.wire import ControlBlock, ControlFlags

GIFTS_MAX = 1024
BYTES_MAX = 64 << 20
"""Of all states and images that are on their way from here."""
log = structlog.get_logger()
OFFER_AGAIN_NS = 20_000_000
_QUEUES_MAX = IMAGE_MAX - image.HEAD
_LOCATED = int(ControlFlags.LOCATED)

Send = Callable[[t.Message, Member], None]
AddressOf = Callable[[int], bytes]
"""The first service address of the server with this index, zeros if it is not known."""


@dataclass(slots=True)
class Gift:
    """One attempt. `sock` is this agent's own descriptor of the application's socket."""

    attempt: Attempt
    sock: socket.socket
    taker: Member
    application: Application
    number: int
    state: Sender
    port: int
    machine: Giving
    offered_ns: int = 0
    begun_ns: int = 0
    frozen_ns: int = 0
    read_ns: int = 0
    prepared_ns: int = 0
    image: Sender | None = None
    block: ControlBlock | None = None
    outcome: t.Outcome | None = None
    size: int = 0
    """Of the image."""
    held: int = 0
    """Bytes of state and image that are kept for it."""
    why: str = field(default="the other server does not answer")

    @property
    def is_under_way(self) -> bool:
        """Whether it has not been decided yet where the endpoint is."""
        return self.machine.step not in (Step.GIVEN, Step.KEPT, Step.OVER)


class Giver:
    """All that this server gives away. `now_ns` arguments are of the boottime clock."""

    def __init__(
        self,
        rows: Rows,
        members: Members,
        send: Send,
        address_of: AddressOf,
        let_go: LetGo | None = None,
    ) -> None:
        self._rows, self._members, self._send = rows, members, send
        self._let_go = let_go or LetGo()
        self._address_of = address_of
        self._gifts: dict[Attempt, Gift] = {}
        self._under_way: dict[Ends, Gift] = {}
        self._held = 0
        self.ended: Callable[[Gift, bool], None] = lambda gift, given: None

    @property
    def is_busy(self) -> bool:
        return bool(self._gifts)

    def begin(self, one: Application, number: int, to: str, shown: Shown, now_ns: int) -> None:
        """Offer an application's endpoint to the server named `to`. Unmovable says why not."""
        if len(self._gifts) + self._let_go.count >= GIFTS_MAX:
            raise tcp_repair.Unmovable(f"{GIFTS_MAX} endpoints are on their way already")
        sock, state, ends = shown.sock, shown.content, shown.ends
        if sock is None or ends is None:
            raise tcp_repair.Unmovable(shown.why)
        taker = self._taker(to, now_ns)
        attempt = Attempt(*ends, 0, 0)
        row = self._rows.endpoint(row_orders.key_of(attempt))
        why = row_orders.obstacle(row)
        if why or row is None:
            raise tcp_repair.Unmovable(why)
        if row.cookie != shown.cookie:
            raise tcp_repair.Unmovable("it is not the socket that the farm has made")
        if tcp_repair.marked(sock):
            raise tcp_repair.Unmovable("its application has given the socket a mark (SO_MARK)")
        if ends in self._under_way:
            raise tcp_repair.Unmovable("the connection is migrating already")
        if len(state) > BYTES_MAX - self._held:
            raise tcp_repair.Unmovable("too much is on its way from here already")
        attempt = Attempt(*ends, row.handshake.iss, row.migration + 1, secrets.randbits(62) + 1)
        gift = Gift(
            attempt, sock, taker, one, number, Sender(state),
            int.from_bytes(row.endpoint_port, "big"), Giving(since_ns=now_ns),
        )  # fmt: skip
        gift.begun_ns = now_ns
        self._gifts[attempt] = self._under_way[ends] = gift
        self._hold(gift, len(state))
        one.proven = True
        self._offer(gift, now_ns)

    def _hold(self, gift: Gift, more: int) -> None:
        gift.held += more
        self._held += more

    def _release(self, gift: Gift) -> None:
        """It is decided where the endpoint is: nothing more is to be shipped."""
        self._hold(gift, -gift.held)
        gift.state, gift.image = Sender(b""), None
        if self._under_way.get(_ends(gift.attempt)) is gift:
            del self._under_way[_ends(gift.attempt)]

    def _taker(self, to: str, now_ns: int) -> Member:
        if not to:
            return destination.anywhere(self._members.others(), now_ns)
        for member in self._members.others():
            if member.state is not None and member.state.server == to:
                if member.age(now_ns) is Age.DOWN:
                    raise tcp_repair.Unmovable(f"{to} is down")
                return member
        mine = self._members.myself.state
        if mine is not None and mine.server == to:
            raise tcp_repair.Unmovable(f"{to} is this server, which has the connection")
        raise tcp_repair.Unmovable(f"this server knows no other one named {to}")

    def _offer(self, gift: Gift, now_ns: int) -> None:
        gift.offered_ns = now_ns
        self._send(t.Offer(gift.attempt, len(gift.state.data)), gift.taker)
        self._ship(gift, gift.state, now_ns, is_image=False)

    def _ship(self, gift: Gift, sender: Sender, now_ns: int, *, is_image: bool) -> None:
        for at, data in sender.due(now_ns):
            piece = t.Piece(gift.attempt, is_image, len(sender.data), at, data)
            self._send(piece, gift.taker)

    def hear(self, said: t.Got | t.Said, member: Member, now_ns: int) -> None:
        gift = self._find(said.attempt)
        if gift is None or gift.taker is not member:
            if isinstance(said, t.Said):
                self._answer_for_an_earlier(said, member)
            return
        if isinstance(said, t.Got):
            sender = gift.image if said.is_image else gift.state
            if sender is not None:
                sender.got(said.next_, said.more, now_ns)
                self._ship(gift, sender, now_ns, is_image=said.is_image)
            return
        if said.what in _HEARD:
            if said.why:
                gift.why = f"{gift.taker.state.server if gift.taker.state else ''}: {said.why}"
            self._step(gift, Event[said.what], now_ns)

    def _find(self, attempt: Attempt) -> Gift | None:
        """An agent that knows it from a row only does not know its random number."""
        if attempt.nonce:
            return self._gifts.get(attempt)
        for known, gift in self._gifts.items():
            if known.migration == attempt.migration and _same(known) == _same(attempt):
                return gift
        return None

    def _answer_for_an_earlier(self, said: t.Said, member: Member) -> None:
        if said.what not in ("ASKED", "PREPARED", "READY"):
            return
        has_given = self._rows.went_to(said.attempt, member.index)
        word = giving.word(has_given=has_given, is_under_way=False)
        self._send(t.Outcome(said.attempt, word is Do.COMMIT), member)

    def tick(self, now_ns: int) -> None:
        for gift in list(self._gifts.values()):
            if gift.taker.age(now_ns) is Age.DOWN:
                self._step(gift, Event.TAKER_DOWN, now_ns)
            self._step(gift, Event.TICK, now_ns)
            if gift.machine.step is Step.OFFERED:
                if now_ns - gift.offered_ns >= OFFER_AGAIN_NS:
                    self._offer(gift, now_ns)
                else:
                    self._ship(gift, gift.state, now_ns, is_image=False)
            elif gift.machine.step is Step.SENT and gift.image is not None:
                self._ship(gift, gift.image, now_ns, is_image=True)

    def _step(self, gift: Gift, event: Event, now_ns: int) -> None:
        before = gift.machine.step
        gift.machine, do = giving.step(gift.machine, event, now_ns)
        if before is Step.GIVEN and gift.machine.step is Step.OVER and event is Event.DONE:
            self._log(gift)
        for one in do:
            self._do(gift, one, now_ns)
        if not gift.is_under_way:
            self._release(gift)
        if gift.machine.step is Step.OVER and gift.attempt in self._gifts:
            self._let_go(gift.sock)
            del self._gifts[gift.attempt]

    def _log(self, gift: Gift) -> None:
        """It is live there. still: from freezing it until we have heard so. Its parts: read: until
        its image was on its way; made: until the taker had a socket; told: the rest."""
        now_ns = boottime_ns()
        log.info(
            "an endpoint lives at another server now",
            client=f"{IPv4Address(gift.attempt.client_ip)}:{gift.attempt.client_port}",
            to=gift.taker.state.server if gift.taker.state else "",
            still_us=(now_ns - gift.frozen_ns) // 1000,
            read_us=(gift.read_ns - gift.frozen_ns) // 1000,
            made_us=(gift.prepared_ns - gift.read_ns) // 1000,
            told_us=(now_ns - gift.prepared_ns) // 1000,
            in_all_us=(now_ns - gift.begun_ns) // 1000,
            bytes=gift.size,
        )

    def _do(self, gift: Gift, what: Do, now_ns: int) -> None:
        match what:
            case Do.FREEZE:
                self._step(gift, Event.READ if self._read(gift) else Event.NOT_READ, now_ns)
            case Do.SHIP:
                assert gift.image is not None
                self._ship(gift, gift.image, now_ns, is_image=True)
                gift.read_ns = boottime_ns()
            case Do.GIVE:
                gift.prepared_ns = boottime_ns()
                self._step(gift, Event.GAVE if self._gave(gift) else Event.NOT_GIVEN, now_ns)
            case Do.THAW:
                self._thaw(gift)
            case Do.LEAVE:
                tcp_repair.leave(gift.sock)
            case Do.COMMIT:
                assert gift.outcome is not None
                self._send(gift.outcome, gift.taker)
            case Do.ABORT:
                self._send(t.Outcome(gift.attempt, False), gift.taker)
            case Do.TELL_GIVEN:
                gift.application.say(Given(gift.number, True))
                self.ended(gift, True)
            case Do.TELL_KEPT:
                gift.application.say(Given(gift.number, False, gift.why[:300]))
                self.ended(gift, False)

    def _read(self, gift: Gift) -> bool:
        """Freeze the endpoint and read its socket."""
        try:
            row = self._rows.endpoint(row_orders.key_of(gift.attempt))
            gift.frozen_ns = boottime_ns()
            tcp_repair.mark(gift.sock, MARK_FROZEN)
            cookie = tcp_repair.cookie(gift.sock)
            if row is None or not self._rows.order(row_orders.FREEZE, gift.attempt, cookie=cookie):
                row = self._rows.endpoint(row_orders.key_of(gift.attempt))
                gift.why = row_orders.obstacle(row) or "the connection has changed meanwhile"
                return False
            tcp_repair.freeze(gift.sock)
            longest = max(0, min(_QUEUES_MAX, BYTES_MAX - self._held - image.HEAD))
            found = tcp_repair.dump(gift.sock, self._known(gift, row), longest)
        except (OSError, IposError) as error:
            gift.why = str(error)
            return False
        gift.block = found.block
        gift.image = Sender(image.encode(found))
        gift.size = len(gift.image.data)
        self._hold(gift, gift.size)
        return True

    def _known(self, gift: Gift, row: Endpoint) -> ControlBlock:
        hs = row.handshake
        return replace(
            image.NOTHING_KNOWN,
            iss=hs.iss,
            irs=hs.irs,
            ts_recent=hs.ts_recent,
            flags=ControlFlags(hs.options & _LOCATED),
            migration_number=gift.attempt.migration,
            first=int.from_bytes(self._address_of(row.first), "big"),
        )

    def _gave(self, gift: Gift) -> bool:
        """Whether the endpoint is the taker's now, by our rows."""
        block, state = gift.block, gift.taker.state
        row = self._rows.endpoint(row_orders.key_of(gift.attempt))
        if block is None or state is None or not state.addresses or row is None:
            return False
        located = bool(row.handshake.options & _LOCATED)
        gift.outcome = t.Outcome(gift.attempt, True, self._address_of(row.first), located)
        endpoint = state.addresses[0].to_bytes(4, "big"), gift.port
        try:
            return self._rows.order(
                row_orders.GIVE, gift.attempt, endpoint, irs=block.irs, snd_una=block.snd_una,
                snd_nxt=block.snd_nxt, rcv_nxt=block.rcv_nxt, server=gift.taker.index,
            )  # fmt: skip
        except (OSError, IposError) as error:
            gift.why = str(error)
            return self._rows.went_to(gift.attempt, gift.taker.index)

    def _thaw(self, gift: Gift) -> None:
        """It goes on here: first its packets may come, then it may speak."""
        try:
            self._rows.order(row_orders.THAW, gift.attempt)
            if connection_of(gift.sock) != _ends(gift.attempt):
                raise tcp_repair.Unmovable("its application has made another connection of it")
            tcp_repair.mark(gift.sock, 0)
            tcp_repair.thaw(gift.sock)
        except (OSError, IposError) as error:
            gift.why += f"; it could not be taken back: {error}"

    def again(self, one: Application, number: int, shown: Shown) -> bool:
        """An earlier agent was giving this socket away. Whose is it? Whether the socket is kept."""
        sock, ends = shown.sock, shown.ends
        if sock is None or ends is None:
            one.say(Given(number, True))  # it was left
            return False
        gift = self._under_way.get(ends)
        if gift is not None and shown.cookie == tcp_repair.cookie(gift.sock):
            gift.application, gift.number = one, number  # it has called us again
            return False
        row = self._rows.endpoint(row_orders.key_of(Attempt(*ends, 0, 0)))
        if row is None or row.cookie != shown.cookie:
            self._let_go(sock, partial(one.say, Given(number, True)), _leave_frozen)
            return True
        one.proven = True
        if row.state != row_orders.ATTACHED:
            return False  # it has come, and is not live yet: `Back` asks for that
        if row.flags & row_orders.FROZEN:
            self._rows.order(row_orders.THAW, Attempt(*ends, row.handshake.iss, row.migration))
        tcp_repair.mark(sock, 0)
        tcp_repair.thaw(sock)
        one.say(Given(number, False, "the agent of this server was started anew meanwhile"))
        return False

    def left(self, one: Application, now_ns: int) -> None:
        """The application has gone: what stands still goes on its way, the rest stays with it."""
        for gift in list(self._gifts.values()):
            if gift.application is one:
                self._step(gift, Event.WITHDRAWN, now_ns)

    def close(self) -> None:
        for gift in self._gifts.values():
            gift.sock.close()


def _leave_frozen(sock: socket.socket) -> None:
    """What an agent has frozen loses its connection, in whatever process it is."""
    if tcp_repair.marked(sock) == MARK_FROZEN:
        tcp_repair.leave(sock)


_HEARD = ("READY", "PREPARED", "REFUSED", "DONE", "ASKED")


def _ends(attempt: Attempt) -> Ends:
    """As of `connection_of`."""
    return attempt.client_ip, attempt.client_port, attempt.service_ip, attempt.service_port


def _same(attempt: Attempt) -> tuple[object, ...]:
    """All that tells a connection from others."""
    return *_ends(attempt), attempt.iss
