# SPDX-License-Identifier: Apache-2.0
"""What the members said and no map of the data plane holds, such as names and listening sockets.

The agent writes it to a file in the run directory when it changes. The commands read the file, so
they show the last known state even when the agent is dead.
"""

from functools import lru_cache
from ipaddress import IPv4Address
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ipos import state_file
from ipos.agent.heartbeat.message import Application, Leaving, Listening
from ipos.kernel.pins import pin_directory

if TYPE_CHECKING:  # the commands that read a snapshot need none of the agent
    from ipos.agent.heartbeat.membership import Members


class Advertised(msgspec.Struct, frozen=True):
    """One server: its index in the maps, its name, what it listens on, serves and runs.

    apart_ms: our clock minus its own.

    `weight` is the one that was ordered, 0 for none. `fault` is why it gets no requests although it
    is heard, empty when it gets them. `leaving` is how far a server is that drains. `by_syn` are
    those of `services` that it can serve only by SYN forwarding.
    """

    index: int
    server: str
    back_ip: str
    addresses: list[int]
    services: list[str]
    listening: list[Listening]
    applications: list[Application] = []
    weight: int = 0
    fault: str = ""
    leaving: Leaving | None = None
    apart_ms: int = 0
    by_syn: list[str] = []


class Held(msgspec.Struct, frozen=True):
    """A service address: the server that lists it, the one that holds it, since when and why.

    `holder` is empty where nobody does. since_ns: boottime clock, 0 when it is not known.
    """

    address: str
    server: str
    holder: str
    since_ns: int
    why: str


_STANDING = attrgetter(
    "index", "server", "back_ip", "addresses", "services", "listening", "weight", "fault",
    "by_syn",
)  # fmt: skip


class Snapshot(msgspec.Struct, frozen=True):
    """All servers, the services' names by index, and what became of state datagrams.

    `config` is the file the agent was started with, `loaded` how often it was read, `taken_s` when
    it was taken last, as Unix time, and `refused` why the last reading was not taken, empty when it
    was. `undone` are sentences about what the agent cannot do now. `services` has "" where there is
    none. `checks` are the services that are checked: why one is not well, "" when it is.
    `access_log` is how many lines were written and lost since the agent started. `pools` are their
    keys by index and `labels` what people call them, "" for every server that listens. `rules` is a
    digest of the routes, by whose numbers requests are counted. `troubles` name whose datagrams are
    not believed and why, `strangers` the same of those who need not be servers of this farm,
    `absences` what is configured and nobody has. `fault` is what is wrong with this server's own
    links. `address_changes` are what happened to addresses here, since the agent started.
    """

    farm: str = ""
    me: str = ""
    config: str = ""
    loaded: int = 0
    refused: str = ""
    services: list[str] = []
    pools: list[str] = []
    labels: list[str] = []
    servers: list[Advertised] = []
    datagrams: dict[str, int] = {}
    access_log: dict[str, int] = {}
    troubles: list[str] = []
    strangers: list[str] = []
    absences: list[str] = []
    fault: str = ""
    undone: list[str] = []
    addresses: list[Held] = []
    address_changes: dict[str, int] = {}
    taken_s: float = 0.0
    checks: dict[str, str] = {}
    rules: str = ""

    def services_of(self, server: str) -> list[str]:
        """What a server has said that it serves."""
        return [name for one in self.servers if one.server == server for name in one.services]

    def is_of(self, pins: Path) -> bool:
        """Whether it tells about the data plane in this pin directory; one that is empty may."""
        return not self.farm or pin_directory(self.farm, self.me).name == pins.name

    def faults(self) -> list[str]:
        """A sentence for every server that a fault keeps from serving, and for our own fault.

        That one counts for no requests while nobody is better off.
        """
        found = [f"{one.server} ({one.back_ip}): {one.fault}" for one in self.servers if one.fault]
        told = any(one.fault and one.server == self.me for one in self.servers)
        return [f"{self.me}: {self.fault}", *found] if self.fault and not told else found

    def is_news(self, before: "Snapshot") -> bool:
        """Whether it says more than other counts, memory and CPU time than one before it."""
        return self._news() != before._news()

    def _news(self) -> tuple[object, ...]:
        counts = {reason: n for reason, n in self.datagrams.items() if reason != "accepted"}
        servers = list(map(_STANDING, self.servers))
        return (
            self.farm, self.me, self.config, self.loaded, self.refused,
            self.services, self.pools, self.labels, servers, counts,
            self.troubles, self.strangers, self.absences, self.fault, self.undone, self.addresses,
            self.taken_s, self.checks, self.rules,
        )  # fmt: skip


def not_well(service: str, why: str) -> str:
    """Says that a service's check fails on this server. why: what the check has found."""
    return f"{service} is not well here: {why}; repair its application, or correct its check"


def advertised(members: "Members") -> list[Advertised]:
    """What each server said, by index."""
    return [
        Advertised(
            member.index,
            member.state.server,
            _text(member.state.back_ip),
            member.state.addresses,
            member.state.services,
            member.state.listening,
            member.state.applications,
            member.state.weight,
            member.standing.why,
            member.state.leaving,
            member.apart_ms,
            member.state.by_syn,
        )
        for member in sorted(members.by_ip.values(), key=lambda member: member.index)
        if member.state is not None
    ]


@lru_cache(maxsize=512)
def _text(address: int) -> str:
    return str(IPv4Address(address))


def write(file: Path, snapshot: Snapshot) -> None:
    """Not durable: in a power failure it is lost with the maps that it tells about."""
    state_file.write(file, snapshot, durable=False)


def read(file: Path) -> Snapshot:
    """The last snapshot; an empty one where no agent has run, or the file is damaged."""
    return state_file.peek(file, Snapshot) or Snapshot()


def take(file: Path, say: state_file.Say) -> Snapshot:
    """The same for the one who writes it: a damaged file is set aside."""
    return state_file.take(file, Snapshot, say) or Snapshot()
