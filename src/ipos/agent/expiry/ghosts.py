# SPDX-License-Identifier: Apache-2.0
"""Ends sockets of this server whose connections have ended everywhere else.

A first server that took this server for dead has reset its clients. No packet of such a client
comes any more, and an application may keep the socket for as long as it likes; it counts as load.
So this server asks the first server:

    it begins, or is heard again      about every endpoint that came by it
    it says that it has reset some    the same
    an endpoint is silent             about that one, as the kernel is
    this server was away, and another one had its address meanwhile
                                      that one, about every endpoint that came here directly

A connection that the first server has ended, and remembers, is ended here by sock_diag(7): the
application gets ECONNRESET, and the client a reset if it is still there. If the first server knows
nothing of a connection, that proves nothing, because its packets find their owner through any
server (`bpf/xdp/locate.h`). Questions are not recorded: if one is lost, it is asked again when the
endpoint has been silent for long.

Where connections are not found again, because addresses have no holders, a first server that has
forgotten a connection has ended it:

    it says that it is down           its endpoints end at once, and it is not asked
    it is silent for long             the same, of those that are silent, too
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address

from ipos.abi.columns import Among
from ipos.abi.layout import constant
from ipos.abi.rows import ServerState
from ipos.agent.expiry import expiry_rules
from ipos.agent.expiry.ended_counts import Ledger
from ipos.agent.expiry.expiry_rules import Known, Owned
from ipos.agent.expiry.owner_query import Inquiry
from ipos.agent.expiry.row_table import RowTable
from ipos.agent.host.connection_sockets import Sockets

Heard = Callable[[], Mapping[int, int | None]]
"""Every other server that is up, by its index: when its agent began. None: it says it is down."""

AGAIN_NS = 1_000_000_000
"""The endpoints of one first server are not all asked about more often."""
_FIRST = Among("ipos_endpoint", "first")
_LIVE = constant("IPOS_EP_LIVE")
_DOWN = int(ServerState.DOWN)


class Ghosts:
    """The endpoints of this server, each with the first server it came by."""

    def __init__(
        self,
        connect: RowTable[Owned],
        local: RowTable[Owned],
        inquiry: Inquiry,
        sockets: Sockets,
        ledger: Ledger,
        server: Callable[[int], Known | None],
        heard: Heard,
        *,
        found_again: bool = False,
    ) -> None:
        """found_again: connections outlive their first server."""
        self._connect, self._local = connect, local
        self._inquiry = inquiry
        self._sockets = sockets
        self._ledger = ledger
        self._server = server
        self._heard = heard
        self._found_again = found_again
        self._boots: dict[int, int | None] = {}
        self._due: set[int] = set()
        self._asked_ns: dict[int, int] = {}

    def steps(self, told: Iterable[int], now_ns: int) -> Iterator[None]:
        """One pass, in pieces. told: servers that have reset connections, which may be ours."""
        heard = dict(self._heard())
        left = {index for index, boot in heard.items() if boot is None}
        left -= {index for index, boot in self._boots.items() if boot is None}
        left = set() if self._found_again else left
        begun = {index for index, boot in heard.items() if boot != self._boots.get(index)}
        self._boots = heard
        self._due |= (begun | set(told)) - left
        since_ns = now_ns - AGAIN_NS
        due = {one for one in self._due if self._asked_ns.get(one, since_ns) <= since_ns}
        if self._inquiry.is_busy:  # what waits there is bounded by the table
            due = set()
        self._due -= due
        self._asked_ns |= dict.fromkeys(due, now_ns)
        if not due and not left:
            return
        for found in self._connect.find(lambda values: _FIRST.places(values, due | left)):
            for key, row in found:
                if row.first in left:
                    self.end(key, row)
                else:
                    self._ask(key, row)
            yield

    def suspect(self, key: bytes) -> None:
        """An endpoint of ours has been silent for long, and has a socket."""
        row = self._connect.get(key)
        if row is None:
            return
        first = self._server(row.first)
        if first is not None and first.state != _DOWN:
            self._ask(key, row)
        elif not self._found_again:
            self.end(key, row)

    def ask_about(self, key: bytes, row: Owned, server: IPv4Address) -> None:
        """Ask another server, which may have had the connection's packets for a while."""
        if not expiry_rules.is_unattached(row):
            iss = expiry_rules.HANDSHAKE.read(row.hs).iss
            self._inquiry.doubt(server, key, iss, of_first=True, live=True)

    def denied(self, key: bytes, iss: int) -> None:
        """The first server says that there is no such connection."""
        row = self._connect.get(key) or self._local.get(key)
        if row is not None and expiry_rules.HANDSHAKE.read(row.hs).iss == iss:
            self.end(key, row)

    def end(self, key: bytes, row: Owned) -> None:
        """The data plane sees the reset that our kernel sends, and its row goes."""
        if expiry_rules.is_unattached(row):
            return
        ends = expiry_rules.ENDS.read(key)
        local, remote = (ends.service_ip, ends.service_port), (ends.client_ip, ends.client_port)
        if self._sockets.destroy(local, remote, row.cookie):
            self._ledger.count("GHOSTS_ENDED")

    def _ask(self, key: bytes, row: Owned) -> None:
        first = self._server(row.first)
        if first is None or expiry_rules.is_unattached(row):
            return
        iss = expiry_rules.HANDSHAKE.read(row.hs).iss
        live = bool(row.flags & _LIVE)
        self._inquiry.doubt(IPv4Address(first.back_ip), key, iss, of_first=True, live=live)
