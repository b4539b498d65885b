# SPDX-License-Identifier: Apache-2.0
"""The service addresses of this server where routers are told of them (`announce = "bgp"`).

A server that is ready announces all that it lists; one that is not announces none. What has been
announced goes into its states, so that every server shows who announces what. Several servers may
announce one address: routers send each flow to one of them, and may change their minds at any time.
So all servers ask for the owner of a connection whose handshake they have not seen (`asks`).
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import msgspec
import structlog

from ipos import hook
from ipos.abi.rows import Arp, ServerState
from ipos.agent.heartbeat.member import Age, Member
from ipos.agent.heartbeat.membership import Members
from ipos.agent.heartbeat.message import State
from ipos.agent.holders import route_file
from ipos.agent.holders.states import SLEPT_NS
from ipos.agent.host import paths
from ipos.agent.loop.undone import Undone
from ipos.agent.snapshot.snapshot import Held
from ipos.config.schema import Config
from ipos.errors import IposError
from ipos.files import FileError, read_bounded, write_whole
from ipos.ip_family import Address

TIMEOUT_S = 5.0
"""How long the command may take. It tells a daemon on this machine to read a file."""
RETRY_NS = 2_000_000_000
SETTLE_NS = 1_500_000_000
"""For so long after a withdrawal routers may still send here what they would send elsewhere."""
CONCERN = "announcements"
_STATES = {ServerState.MAINT: "is in maintenance", ServerState.DRAIN: "drains"}
Spawn = Callable[[Coroutine[None, None, None]], asyncio.Task[None]]

log = structlog.get_logger()


def why_none(member: Member, *, settled: bool) -> str:
    """Why a server is to announce nothing, as "s1 drains"; empty when it is to announce.

    settled: it knows who else is there, or has waited for long enough.
    """
    state = member.state
    if state is None or not settled:
        return "it has just begun"
    if member.standing.why:
        return member.standing.why
    said = _STATES.get(ServerState(state.state), "")
    return f"{state.server} {said}" if said else ""


def tell(file: Path, command: Sequence[str], server: str, addresses: Sequence[int]) -> str:
    """Write the file if it says anything else, and run the command. Why it failed, or "".

    Waits for a disk and for a process.
    """
    wanted = route_file.text(server, addresses).encode()
    try:
        if not _holds(file, wanted):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, wanted, durable=False)
            file.chmod(0o644)  # its reader is another user, whatever our umask is
    except (IposError, OSError) as error:
        return f"routers are not told of this server's addresses: {error}"
    listed = " ".join(str(IPv4Address(one)) for one in addresses)
    environment = {"IPOS_ADDRESSES": listed, "IPOS_SERVER": server, "IPOS_ANNOUNCE_FILE": str(file)}
    failed = hook.run(command, environment, TIMEOUT_S)
    return f"routers are not told of this server's addresses: {failed}" if failed else ""


def teller(config: Config) -> Callable[[Sequence[int]], str]:
    """`tell` as this configuration has it, for addresses."""
    agent = config.agent
    file = paths.announce_file() if agent.announce_file is None else agent.announce_file
    return partial(tell, file, agent.announcer, config.server.name)


def _holds(file: Path, wanted: bytes) -> bool:
    try:
        return read_bounded(file, 2 * len(wanted)) == wanted
    except (FileError, OSError):
        return False


class Announcements:
    """What one agent announces. `tell` tells routers, in a thread: (addresses) -> failure or "".

    It stands in for `Keeper` where addresses have no holders.
    """

    def __init__(
        self,
        members: Members,
        own: Sequence[Address],
        tell: Callable[[Sequence[int]], str],
        spawn: Spawn,
        undone: Undone,
        now_ns: int,
    ) -> None:
        self._members = members
        self._own = tuple(map(int, own))
        self._tell = tell
        self._spawn = spawn
        self._undone = undone
        self._task: asyncio.Task[None] | None = None
        self._told: tuple[int, ...] | None = None
        self._wanted: tuple[int, ...] = ()
        self._why = "it has just begun"
        self._has_tried = False
        self._retry_ns = 0
        self._looked_ns = now_ns
        self._cut_off = False
        self._told_ns = 0
        self._seen: tuple[int, object] | None = None
        self._listed: frozenset[int] = frozenset()
        self._made_from: tuple[object, ...] = ()
        self._arps: dict[int, Arp] = {}
        self._since: dict[tuple[int, int], tuple[bool, int]] = {}
        self._returned: deque[dict[bytes, IPv4Address]] = deque()
        self.counts: Counter[str] = Counter()

    @property
    def rests(self) -> bool:
        """Whether routers are told all there is to tell."""
        return self._task is None and self._wanted == self._told

    def ran(self, now_ns: int) -> None:
        """The agent had no CPU until now, but the data plane ran, so nobody took us for dead."""
        self._looked_ns = now_ns

    def look(self, now_ns: int, *, settled: bool, cut_off: bool = False) -> None:
        """Take in who is there, and begin to tell routers what has changed.

        cut_off: front does not work, and no other server is heard.
        """
        if now_ns - self._looked_ns >= SLEPT_NS or (self._cut_off and not cut_off):
            self._was_away()
        self._cut_off = cut_off
        self._looked_ns = now_ns
        self._take_members(now_ns)
        mine = self._members.myself
        if not settled and self._told is None:
            return  # what an agent before this one has announced stays until more is known
        self._why = why_none(mine, settled=settled)
        self._own = tuple(mine.state.addresses) if mine.state is not None else self._own
        self._wanted = () if self._why else self._own
        if self._wanted != self._told and self._task is None and now_ns >= self._retry_ns:
            self._task = self._spawn(self._run(self._wanted, now_ns))

    async def _run(self, addresses: tuple[int, ...], now_ns: int) -> None:
        try:
            failed = await asyncio.to_thread(self._tell, addresses)
        finally:
            self._task = None
        self._undone.note(CONCERN, failed)
        self._has_tried = True
        if failed:
            self._retry_ns = now_ns + RETRY_NS
            return
        self._count(set(self._told or ()), set(addresses))
        self._told, self._told_ns = addresses, self._looked_ns

    def _count(self, before: set[int], after: set[int]) -> None:
        self.counts["taken"] += len(after - before)
        self.counts["given_up"] += len(before - after)
        named = [str(IPv4Address(one)) for one in sorted(after or before)]
        if after - before:
            log.info("routers are told of this server's addresses", addresses=named)
        elif before - after:
            log.warning(
                "routers are told that addresses are not here",
                addresses=[str(IPv4Address(one)) for one in sorted(before - after)],
                reason=self._why or "it lists them no more",
            )

    def _take_members(self, now_ns: int) -> None:
        """Which addresses there are, and since when each server has announced them or not."""
        now = self._members.changes, self._told
        if now == self._seen and self._members.is_calm(now_ns):
            return
        self._seen = now
        self._listed = frozenset(address for _, address in self._all())
        seen = {}
        for member, address in self._all():
            here = self._announces(member, address, now_ns)
            place = int(member.back_ip), address
            before = self._since.get(place)
            seen[place] = before if before and before[0] == here else (here, now_ns)
        self._since = seen

    def _all(self) -> list[tuple[Member, int]]:
        members = sorted(self._members.by_ip.values(), key=lambda one: int(one.back_ip))
        return [
            (member, address)
            for member in members
            if member.state is not None
            for address in member.state.addresses
        ]

    def _announces(self, member: Member, address: int, now_ns: int) -> bool:
        if member is self._members.myself:
            return address in (self._told or ())
        state = member.state
        if state is None or member.age(now_ns) is Age.DOWN:
            return False
        return address in (state.holds or ())

    def _was_away(self) -> None:
        """Others may have taken this server for dead: each is asked what it has ended."""
        mine = [address.to_bytes(4, "big") for address in self._listed]
        self._returned.extend(
            dict.fromkeys(mine, member.back_ip)
            for member in self._members.others()
            if member.state is not None
        )

    # ---- as Keeper ---------------------------------------------------------------------------

    def arps(self) -> dict[int, Arp]:
        """Neighbours on front are answered for what is announced here and for the first address,
        by which routers may speak with this server; not for what others list.
        """
        if self._made_from != (self._listed, self._told, self._own):
            self._made_from = self._listed, self._told, self._own
            here = {*(self._told or ()), *self._own[:1]}
            self._arps = {
                address: Arp.ANSWER if address in here else Arp.SILENT
                for address in self._listed | set(self._own[:1])
            }
        return self._arps

    def asks(self, now_ns: int) -> frozenset[int]:
        """Cookies of any address may be of connections that have an owner already."""
        return self._listed

    def learns(self, now_ns: int) -> bool:
        """Whether other servers may have its connections by now, which it cannot hear of."""
        return self._cut_off

    @property
    def taken(self) -> frozenset[int]:
        """None: an address that several servers announce is not taken from another one."""
        return frozenset()

    def returned(self) -> dict[bytes, IPv4Address]:
        """After this server was away: addresses, and a server that had them; once for each."""
        return self._returned.popleft() if self._returned else {}

    @property
    def silent(self) -> list[int]:
        """Addresses in whose name nobody is asked."""
        return [address for address, arp in self.arps().items() if arp is Arp.SILENT]

    def tell(self, state: State) -> State:
        """Our state with what is announced."""
        return msgspec.structs.replace(state, holds=list(self._told or ()))

    def holder(self, address: int) -> int:
        """The index of another server that announces an address which this one does not, or 0."""
        if self._told is None or address in self._told:
            return 0
        for member in self._members.others():
            state = member.state
            if state is not None and address in (state.holds or ()) and not member.standing.why:
                return member.index
        return 0

    @property
    def holds_any(self) -> bool:
        """Whether routers may still send anything here: for a while after they were told."""
        return self._told is None or bool(self._told) or self._is_settling()

    def _is_settling(self) -> bool:
        return self._looked_ns - self._told_ns < SETTLE_NS

    @property
    def has_its_own(self) -> bool:
        """Whether routers have been told, or cannot be now."""
        return self._told is not None or self._has_tried

    def held(self, now_ns: int) -> list[Held]:
        """What there is to see: each server's addresses, and whether it announces them."""
        found = []
        for member, address in self._all():
            state = member.state
            assert state is not None
            here, since_ns = self._since.get((int(member.back_ip), address), (False, 0))
            found.append(
                Held(
                    address=str(IPv4Address(address)),
                    server=state.server,
                    holder=state.server if here else "",
                    since_ns=since_ns,
                    why="it announces it" if here else self._why_not(member, now_ns),
                )
            )
        return found

    def _why_not(self, member: Member, now_ns: int) -> str:
        state = member.state
        if member is not self._members.myself and member.age(now_ns) is Age.DOWN:
            return f"{state.server if state else member.back_ip} is down"
        why = why_none(member, settled=True)
        if member is self._members.myself:
            why = self._why or why
        return why or "routers have not been told yet"
