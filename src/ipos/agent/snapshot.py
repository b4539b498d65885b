# SPDX-License-Identifier: Apache-2.0
"""What the members advertised and no map of the data plane holds: names, listening sockets.

The agent writes it to a file in the run directory when it changes, and once a second for the
counts; the commands read the file, so they show the last known even when the agent is dead.
"""

from functools import lru_cache
from ipaddress import IPv4Address
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ipos.agent.message import Application, Listening
from ipos.agent.places import write_whole

if TYPE_CHECKING:  # the commands that read a snapshot need none of the agent
    from ipos.agent.members import Members


class Advertised(msgspec.Struct, frozen=True):
    """One server: its index in the maps, its name, what it listens on, serves and runs.

    `weight` is the one that was ordered, 0 for none.
    """

    index: int
    server: str
    back_ip: str
    addresses: list[int]
    services: list[str]
    listening: list[Listening]
    applications: list[Application] = []
    weight: int = 0


_STANDING = attrgetter("index", "server", "back_ip", "addresses", "services", "listening", "weight")


class Snapshot(msgspec.Struct, frozen=True):
    """All servers, the services' names by index, and what became of state datagrams.

    `config` is the file the agent was started with, `loaded` how often it was read, and `refused`
    why the last reading was not taken, empty when it was. `services` has "" where there is none.
    `access_log` is how many lines were written and lost since the agent started. `pools` are their
    keys by index and `labels` what people call them, "" for every server that listens.
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

    def services_of(self, server: str) -> list[str]:
        """What a server has said that it serves."""
        return [name for one in self.servers if one.server == server for name in one.services]

    def is_news(self, before: "Snapshot") -> bool:
        """Whether it says more than other counts, memory and CPU time than one before it."""
        return self._news() != before._news()

    def _news(self) -> tuple[object, ...]:
        counts = {reason: n for reason, n in self.datagrams.items() if reason != "accepted"}
        servers = list(map(_STANDING, self.servers))
        return (
            self.farm, self.me, self.config, self.loaded, self.refused,
            self.services, self.pools, self.labels, servers, counts,
        )  # fmt: skip


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
        )
        for member in sorted(members.by_ip.values(), key=lambda member: member.index)
        if member.state is not None
    ]


@lru_cache(maxsize=512)
def _text(address: int) -> str:
    return str(IPv4Address(address))


def write(file: Path, snapshot: Snapshot) -> None:
    write_whole(file, msgspec.json.encode(snapshot).decode())


def read(file: Path) -> Snapshot:
    """The last snapshot; an empty one where no agent has run."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Snapshot)
    except FileNotFoundError:
        return Snapshot()
