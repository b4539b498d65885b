# SPDX-License-Identifier: Apache-2.0
"""Keeps connection tracking away from the services, where addresses are translated.

One chain of type nat takes the socket away from each request that a server adopts, unless
connection tracking does not see the packet; see `ipos.doctor.address_translation`. Every host with
Docker or Podman has such chains, and some containers do. They may come and go at any time.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from ipos.agent.loop.tasks import Tasks
from ipos.agent.loop.undone import Undone
from ipos.agent.network import nfnetlink
from ipos.closing import Closing
from ipos.config.schema import Config

AGAIN_NS = 10_000_000_000
"""However quiet it is, it is looked again: tables of iptables before nftables come unheard."""


@dataclass(frozen=True, slots=True)
class Services:
    """The service addresses of the farm, and the ports of its services of TCP."""

    addresses: frozenset[IPv4Address]
    ports: frozenset[int]


def services(config: Config, addresses: Collection[IPv4Address]) -> Services | None:
    """Those at these addresses; None: connection tracking is left as it is."""
    if config.server.notrack == "leave":
        return None
    ports = frozenset(each.port for each in config.service if each.protocol == "tcp")
    return Services(frozenset(addresses), ports)


def _nobody(is_set: bool) -> None:
    """Nothing is written down."""


@dataclass(slots=True)
class Untracked:
    """One network namespace. note: told before the table is made, and after it was removed."""

    note: Callable[[bool], None] = _nobody
    trouble: str = ""
    """Why connection tracking sees the services, though it must not."""
    _written: Services | None = field(default=None)

    def keep(self, wanted: Services | None) -> None:
        """Have the table exactly where it is needed, in this thread's namespace. None: nowhere."""
        try:
            self._keep(wanted)
            self.trouble = ""
        except OSError as error:
            self.trouble = (
                "a firewall translates addresses here, so requests that this server adopts lose "
                f"their sockets, and the table {nfnetlink.TABLE} of nftables that prevents it "
                f"cannot be made: {error.strerror}"
            )

    def _keep(self, wanted: Services | None) -> None:
        seen = nfnetlink.look()
        if wanted is None or not seen.translates:
            if seen.ours:
                nfnetlink.remove()
            self.note(False)
            self._written = None
        elif not seen.ours or wanted != self._written:
            self.note(True)
            nfnetlink.write(wanted.addresses, wanted.ports)
            self._written = wanted


class TranslationWatch(Closing):
    """Has `keep` called in a thread when chains have come or gone. It returns the trouble left."""

    def __init__(self, keep: Callable[[], str], undone: Undone, tasks: Tasks) -> None:
        self._keep = keep
        self._undone = undone
        self._tasks = tasks
        self._news = nfnetlink.ChainNews()
        self._looked_ns = 0
        self._looking = False

    def begin(self, now_ns: int) -> None:
        """Once a second."""
        if self._looking or not (self._news.any() or now_ns - self._looked_ns >= AGAIN_NS):
            return
        self._looked_ns, self._looking = now_ns, True
        self._tasks.in_thread(self._keep, self._looked)

    def close(self) -> None:
        self._news.close()

    def _looked(self, trouble: str) -> None:
        self._looking = False
        self._undone.note("address translation", trouble)
