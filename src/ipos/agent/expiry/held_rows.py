# SPDX-License-Identifier: Apache-2.0
"""Ends held requests whose time is over: resets or answers clients, gives their pieces back."""

from collections.abc import Callable, Iterator, Sequence

from ipos.abi.layout import constant
from ipos.agent.expiry import expiry_rules, notices
from ipos.agent.expiry.connection_rows import ACTIONS, HOLDING, ConnectionRows
from ipos.agent.expiry.expiry_rules import Fate, Held
from ipos.kernel.libbpf import syscall
from ipos.kernel.libbpf.errors import MapError
from ipos.wire import responses

_CHUNK = constant("IPOS_CHUNK")
_STAY = (Fate.KEEP, Fate.LATE)


class HeldRows:
    """The rows of `holding` in a pass.

    timed_out is told the key and service of heads that do not end in time. reset: resets a client
    that has acknowledged all before a number, by the routes to it.
    """

    def __init__(
        self,
        rows: ConnectionRows,
        reset: Callable[[bytes, int], None],
        timed_out: Callable[[bytes, int], None] | None = None,
    ) -> None:
        self._rows = rows
        self._reset = reset
        self._timed_out = timed_out

    def reap(self) -> Iterator[None]:
        """All of them, in pieces."""
        for old in self._rows.holding.walk(self._rows.now_ns - self._rows.limits.header_ns):
            for turn, (key, row) in enumerate(old, start=1):
                fate = self._held_fate(key, row)
                if fate is Fate.LATE:
                    ends, programs = expiry_rules.ENDS.read(key), self._rows.programs
                    notices.tell_late(self._rows.settings, ends, row, programs)
                elif fate is not Fate.KEEP:
                    self._give_up(key)
                if turn % ACTIONS == 0:
                    yield
            yield

    def forget(self, before_ns: int) -> Iterator[None]:
        """First requests from before that, in pieces; their clients hear nothing.

        Other servers had their addresses meanwhile: some have these requests by now.
        """
        for old in self._rows.holding.walk(before_ns):
            for turn, (key, row) in enumerate(old, start=1):
                if expiry_rules.is_first(row):
                    self._forget(key)
                if turn % ACTIONS == 0:
                    yield
            yield

    def _forget(self, key: bytes) -> None:
        row = self._rows.holding.take_by(
            key, lambda row: expiry_rules.is_first(row) and self._take_out(key, row)
        )
        if row is None:
            return
        self._give_back(key, row, expiry_rules.pieces(row.chunks))
        if row.complete:
            self._withdraw(key)
        self._rows.ledger.count("FORGOTTEN")

    def _held_fate(self, key: bytes, row: Held) -> Fate:
        fate = expiry_rules.held(row, self._rows.now_ns, self._rows.limits)
        if fate is not Fate.LOOK:
            return fate
        if row.moving:
            return expiry_rules.waiting(self._rows.local.get(key) or self._rows.connect.get(key))
        return expiry_rules.offered(self._rows.forward.get(key), self._rows.local.get(key))

    def _give_up(self, key: bytes) -> None:
        row = self._rows.holding.take_by(key, lambda row: self._take(key, row))
        if row is None:
            return
        fate = self._held_fate(key, row)
        if fate is Fate.ANSWER and self._answer(key, row):
            return
        self._give_back(key, row, expiry_rules.pieces(row.chunks))
        if fate is Fate.EXPIRE:
            self._rows.remember(key, row, expiry_rules.RESET)
            self._rows.ledger.count("ANSWER_EXPIRED")
        if fate is not Fate.RESET:
            return
        if row.complete and not self._withdraw(key):
            return
        self._rows.remember(key, row, expiry_rules.RESET)
        self._late(key, row)
        iss = expiry_rules.HANDSHAKE.read(row.hs).iss
        if expiry_rules.is_idle(row):  # no packet has told us the way to its client
            self._reset(key, iss + 1 & 0xFFFF_FFFF)
            return
        ends = expiry_rules.ENDS.read(key)
        frame = notices.reset_frame(self._rows.settings, ends, row.client_mac, iss)
        self._send(ends, frame)

    def _send(self, ends: expiry_rules.Ends, frame: bytes) -> None:
        """To a client, by the interface that its service address belongs to."""
        name = notices.front_of(self._rows.settings, ends, self._rows.front)
        self._rows.frames.send(name, frame)

    def _take(self, key: bytes, row: Held) -> bool:
        if self._held_fate(key, row) in _STAY:
            return False
        return self._take_out(key, row)

    def _take_out(self, key: bytes, row: Held) -> bool:
        ends, programs = expiry_rules.ENDS.read(key), self._rows.programs
        return notices.take_held(self._rows.settings, ends, row, programs)

    def _give_back(self, key: bytes, row: Held, pieces: Sequence[bytes]) -> None:
        """Give a row's pieces back to the hold pool, and to the share of the client's network."""
        for piece in pieces:
            self._rows.maps["hold_free"].push(piece)
        client = expiry_rules.ENDS.read(key).client_ip
        # A row of IPv6 has a number there that stands for the client's network.
        of = client if len(client) == 4 else row.client_ip
        self._rows.shares.returns(self._rows.settings.vouch, of, len(pieces))

    def _late(self, key: bytes, row: Held) -> None:
        name = expiry_rules.late_name(row)
        self._rows.ledger.count(name)
        if self._timed_out is not None and name == "HEAD_TIMEOUT":
            self._timed_out(key, row.service)

    def _answer(self, key: bytes, row: Held) -> bool:
        """Answer a client with a response; False when it has begun anew: then its pieces go back.

        The data plane sends the answer again if the client misses it, out of the first piece.
        """
        answer = responses.timed_out()
        first, *others = expiry_rules.pieces(row.chunks)
        self._rows.maps["hold_pool"].update(first, answer.ljust(_CHUNK, b"\0"))
        kept = expiry_rules.answered(row, answer, self._rows.now_ns)._replace(
            chunks=row.chunks[:4].ljust(len(row.chunks), b"\0")
        )
        try:
            if not self._rows.maps["holding"].update(
                key, expiry_rules.HELD.write(kept), syscall.NOEXIST
            ):
                return False
        except MapError:
            return False
        self._rows.taken.put_back(key, HOLDING)
        self._give_back(key, row, others)
        self._late(key, row)
        ends = expiry_rules.ENDS.read(key)
        frame = notices.answer_frame(self._rows.settings, ends, kept, answer)
        self._send(ends, frame)
        return True

    def _withdraw(self, key: bytes) -> bool:
        """Take back the offer of a request; False when it has been accepted after all."""
        if self._rows.forward.get(key) is not None:
            offer = self._rows.forward.take(key, expiry_rules.is_unaccepted)
            if offer is None:
                return False
            self._rows.ledger.closed(offer.server)
        local = self._rows.local.get(key)
        if local is not None:
            self._rows.tell_unattached(key, local)
            return self._rows.local.get(key) is None
        return True
