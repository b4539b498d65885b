# SPDX-License-Identifier: Apache-2.0
"""Sends what this server tells the others at each beat, and takes in what they tell.

`Exchange` connects the UDP socket with the parts of the agent that understand its datagrams: whole
states go to the membership and to the rows of the data plane, questions about connections to
expiry, those about faults to the examiner, and learned cookies to their map. States without news
are taken in by the data planes, and the agent reads what they have heard from a map once a beat.
`Exchange` also probes servers whose agents are silent.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

import msgspec

from ipos.abi import rows as abi_rows
from ipos.abi.layout import constant
from ipos.abi.rows import ServerState, SettingsFlags
from ipos.agent.drain.emptying import Emptying
from ipos.agent.examination import findings_message
from ipos.agent.examination.examiner import Examiner
from ipos.agent.expiry import query_message
from ipos.agent.expiry.sweep import Sweep
from ipos.agent.heartbeat import learned_cookies, message, probe, transport
from ipos.agent.heartbeat.datagram_tags import Key
from ipos.agent.heartbeat.datagrams import Source
from ipos.agent.heartbeat.learned_cookies import CookieGossip, Peer
from ipos.agent.heartbeat.member import Age, Member
from ipos.agent.heartbeat.membership import Members
from ipos.agent.heartbeat.orders import Kept
from ipos.agent.heartbeat.pace import OFTEN, Editions
from ipos.agent.heartbeat.probe import Prober
from ipos.agent.holders.announcements import Announcements
from ipos.agent.holders.keeper import Keeper
from ipos.agent.host.health_checks import Checks
from ipos.agent.host.own_state import Observer, boottime_ns
from ipos.agent.network.interfaces import Interface
from ipos.agent.on_demand.supervisor import Supervisor
from ipos.agent.rows import desired
from ipos.agent.rows.convergence import Convergence
from ipos.agent.sessions import row_message
from ipos.agent.sessions.session_news import SessionNews
from ipos.config.schema import Config
from ipos.ip_family import identity
from ipos.kernel.libbpf.map_store import Map
from ipos.kernel.maps import Tables

_ANY = constant("IPOS_HEARD_ANY").to_bytes(4, sys.byteorder)
_OTHER_KINDS = (
    *query_message.KINDS, learned_cookies.KIND, *row_message.KINDS, *findings_message.KINDS
)  # fmt: skip
"""First bytes of the datagrams on our port that are not states."""


class Exchange:
    """One server's side of the conversation. `key` makes and checks the tags of datagrams."""

    def __init__(
        self,
        config: Config,
        front: Interface,
        back: Interface,
        key: Key,
        port: transport.Port,
        prober: Prober,
        members: Members,
        orders: Kept,
        checks: Checks,
        observer: Observer,
        rows: Convergence,
        expiry: Sweep,
        cookies: CookieGossip,
        sessions: SessionNews,
        tables: Tables,
        said: Map,
        keeper: Keeper | Announcements,
        emptying: Emptying,
        examiner: Examiner,
        supervisor: Supervisor,
    ) -> None:
        """said: the map `heard`."""
        self._front, self._back = front, back
        self._key = key
        self._port = port
        self._prober = prober
        self._members = members
        self._orders = orders
        self._checks = checks
        self._observer = observer
        self._rows = rows
        self._expiry = expiry
        self._cookies = cookies
        self._sessions = sessions
        self._tables = tables
        self._keeper = keeper
        self._emptying = emptying
        self._examiner = examiner
        self._supervisor = supervisor
        self._said = said
        self._editions = Editions()
        self._settings: abi_rows.Settings | None = None
        self._known: dict[int, tuple[int, int]] = {}
        self._again: asyncio.Handle | None = None
        self._woken: Callable[[], None] | None = None
        self._is_alone = False
        self.again_ms = OFTEN.again_ms
        self.take(config)

    def take(self, config: Config) -> None:
        """Use another configuration."""
        self._discover = config.farm.discover
        self._learns = desired.learns(config)
        self.address()

    def address(self) -> None:
        """Work out again which addresses our state is sent to."""
        others = [member.back_ip for member in self._members.others()]
        own_lan = self._back.index != self._front.index
        audience = transport.audience(
            self._back, self._members.me, others, all_there=self._discover, lan=own_lan
        )
        self._port.address(audience)
        # A frame to everybody reaches all others, and only servers.
        self._is_lan = own_lan and len(audience) == 1

    def speak(self) -> None:
        """Send our own state to all other servers."""
        now_ns = boottime_ns()
        faults = self._rows.faults
        self._observer.again_ms = self.again_ms
        state = self._observer.observe(
            now_ns, _wall_ms(), self._orders.orders, self._is_well, faults.mine, faults.hears
        )
        state = self._supervisor.tell(state)
        self._emptying.follow(self._orders.orders.of(state.server))
        state = self._keeper.tell(state)
        leaving = self._emptying.leaving()
        if leaving is not None:
            state = msgspec.structs.replace(state, leaving=leaving)
        if self._emptying.leaves:
            state = msgspec.structs.replace(state, state=int(ServerState.DRAIN))
        state, whole = self._editions.tell(state)
        self._members.hear_myself(state, now_ns)
        frame = None
        if self._settings is not None and self._is_lan and not whole:
            frame = probe.numbers(self._settings, state)
        if frame is None:
            self._port.tell(message.datagrams(state, self._key))
        else:
            self._prober.send(frame)
        self._rows.said([self._members.myself], now_ns)

    def _is_well(self, service: str) -> bool:
        return self._checks.well(service) and self._supervisor.may_serve(service)

    @property
    def says_numbers(self) -> bool:
        """Whether one frame says to all other data planes what has changed."""
        return self._is_lan and self._settings is not None

    @property
    def rests(self) -> bool:
        """Whether our data plane takes what the others say, and nothing is to be told them."""
        return self.says_numbers and not self._learns

    def wake(self, woken: Callable[[], None] | None) -> None:
        """Call this whenever a datagram waits; None: nobody is to be called."""
        if (woken is None) is (self._woken is None):
            return
        loop = asyncio.get_running_loop()
        if woken is not None:
            loop.add_reader(self._port.fileno(), woken)
        else:
            loop.remove_reader(self._port.fileno())
        self._woken = woken

    def renew(self) -> None:
        """Frames are made under the settings and keys of now, which change with a reload."""
        settings = self._tables.settings.get(0)
        has_tags = settings is not None and SettingsFlags.AUTHENTICATE in settings.flags
        self._settings = settings if has_tags else None

    def hear(self, again: Callable[[], None], *, frames: bool = True) -> None:
        """Read what waits in the socket, and write the rows of the servers that have spoken.

        When more may wait than one read takes, `again` is called soon. frames: see also who has
        spoken to our data plane.
        """
        now_ns, wall_ms = boottime_ns(), _wall_ms()
        heard: dict[int, Member] = {}
        taken = self._port.take()
        self._members.listened_ns = now_ns
        for data, source in taken:
            if data[:1] in _OTHER_KINDS:
                self._hear_other(data, source, now_ns, wall_ms)
                continue
            member = self._members.receive(data, source.number, now_ns, wall_ms)
            if member is not None and member.state is not None:
                self._orders.hear(member.state.orders)
                heard[member.index] = member
        if frames:
            self._members.hear_numbers(self._frames_heard(), now_ns)
        if self._members.begun_ns == now_ns:
            self._editions.repeat()  # it has begun, or was away: it may know nothing of us
        self._rows.said(heard.values(), now_ns)
        self._expect_numbers(heard.values())
        if self._port.is_full(taken) and self._again is None:
            self._again = asyncio.get_running_loop().call_soon(self._once_more, again)

    def _hear_other(self, data: bytes, source: Source, now_ns: int, wall_ms: int) -> None:
        """What is no state, by whoever understands it."""
        if self._expiry.receive(data, (source.host, source.port), now_ns):
            return
        if self._sessions.receive(data, source.host, now_ns, wall_ms):
            return
        if not self._cookies.receive(data, now_ns, wall_ms):
            self._examiner.receive(data, source)

    def _frames_heard(self) -> bytes:
        """The rows that our data plane has written, of all members."""
        last = max([member.index for member in self._members.by_ip.values()])
        return self._said.first(last + 1, locked=True)

    def note_alone(self, now_ns: int) -> None:
        """Tell our data plane when no other server is there: it has not been away, then."""
        alone = self._members.hears_nobody(now_ns)
        if alone and not self._is_alone:
            self._said.update(_ANY, bytes(self._said.value_size))
        self._is_alone = alone

    def heard_since(self, now_ns: int) -> int:
        """Since when our data plane has heard another one without a pause; now if it does not."""
        return self._members.heard_since(self._frames_heard(), now_ns)

    def _expect_numbers(self, members: Iterable[Member]) -> None:
        """Tell our data plane which states are read whole: it takes the numbers that follow."""
        for member in members:
            state = member.state
            if state is None or member is self._members.myself:
                continue
            edition = state.boot, state.edition
            if self._known.get(member.index) != edition:
                boot = state.boot if state.edition else 0
                row = abi_rows.Edition(boot, state.sequence, state.edition)
                self._tables.editions.put(member.index, row)
                self._known[member.index] = edition

    def _once_more(self, again: Callable[[], None]) -> None:
        self._again = None
        again()

    def take_probe_answers(self) -> None:
        """A data plane that answers is alive, whatever its agent does."""
        settings = self._tables.settings.get(0)
        now_ns = boottime_ns()
        if settings is not None:
            for address, mac in self._prober.answers(settings, now_ns):
                self._members.answered(address, mac, now_ns)

    def probe_the_silent(self, now_ns: int) -> None:
        """Ask the data planes of the servers whose agents have not been heard."""
        silent = self._members.silent(now_ns)
        settings = self._tables.settings.get(0) if silent else None
        for member in silent:
            state = member.state
            if settings is not None and state is not None:
                address = IPv4Address(identity(state.addresses, state.back_ip))
                self._prober.ask(settings, member.back_ip, address, state.mac, now_ns)

    def tell_cookies(self, now_ns: int) -> None:
        """Send the rows of sessions that are new here, if a service has any."""
        if not self._learns:
            return
        peers = [
            Peer(member.back_ip, member.state.boot)
            for member in self._members.others()
            if member.state is not None and member.age(now_ns) is not Age.DOWN
        ]
        self._cookies.tick(peers, now_ns, _wall_ms())
        self._sessions.tick(peers, now_ns, _wall_ms())


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
