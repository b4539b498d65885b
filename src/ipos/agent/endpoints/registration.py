# SPDX-License-Identifier: Apache-2.0
"""Which applications take a service's endpoints: those that have its listening socket.

The kernel of this server says that the socket listens, where, and in this network namespace: what
a process says of a socket, or a socket of a namespace of its own, proves nothing. It is asked again
each time, so an application that has closed its listener gets nothing more.
"""

from collections.abc import Callable, Iterable

from ipos.agent.endpoints.desk import Application
from ipos.agent.endpoints.shown import Shown
from ipos.agent.host.listeners import listening, sockets_of
from ipos.agent.host.own_state import boottime_ns
from ipos.config.schema import Config
from ipos.endpoint.desk_message import TEXT_MAX, Register, Registered
from ipos.ip_family import fours

KNOWN_NS = 100_000_000
"""How old what is known of the listening sockets may be."""


class Registration:
    """applications: those that have a line to this agent. config: the one in force."""

    def __init__(
        self, applications: Callable[[], Iterable[Application]], config: Callable[[], Config]
    ) -> None:
        self._applications, self._config = applications, config
        self._listening: set[int] = set()
        self._known_ns = -KNOWN_NS

    def register(self, one: Application, said: Register, shown: Shown) -> None:
        """An application has shown a listening socket."""
        listener = shown.listener
        if listener is None:
            why = shown.why or "it is no TCP socket that listens on this server for IPv4"
            one.say(Registered([], why[:TEXT_MAX]))
            return
        config = self._config()
        own = fours(config.server.addresses)
        found = [
            each.name
            for each in config.service
            if each.protocol == "tcp" and any(sockets_of(each, [listener], own))
        ]
        one.services, one.takes, one.cookie = frozenset(found), said.takes, shown.cookie
        one.proven |= bool(found)
        self._listening.add(shown.cookie)
        place = f"{listener.ip}:{listener.port}"
        why = "" if found else f"no service of the farm has its application at {place}"
        one.say(Registered(found, why))

    def there(self) -> list[Application]:
        """Those whose listener is there."""
        now_ns = boottime_ns()
        if now_ns - self._known_ns >= KNOWN_NS:
            self._listening = {one.cookie for one in listening()}
            self._known_ns = now_ns
        all_ = self._applications()
        return [one for one in all_ if one.services and one.cookie in self._listening]
