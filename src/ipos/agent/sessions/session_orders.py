# SPDX-License-Identifier: Apache-2.0
"""What operators do with identified sessions: move them to another server, and revoke them."""

import asyncio
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from ipos.agent.sessions.row_store import Entry, RowStore, key_of
from ipos.agent.sessions.session_news import SessionNews
from ipos.config.schema import Config
from ipos.errors import IposError
from ipos.selection import identities

_PATIENCE_S = 3.0
_LOOK_S = 0.02
_AT_ONCE = 500
"""Rows that are looked at before the agent does something else."""
_NS = 1_000_000_000


class NoSuchSession(IposError):
    """No session has that identifier, or it has ended."""


def lifetimes(config: Config) -> dict[int, int]:
    """How many seconds an unused session lives, by the port of its service."""
    return {
        service.port: service.session.expire_s
        for service in config.service
        if service.session is not None and service.session.kind == "identify"
    }


@dataclass(slots=True)
class SessionOrders:
    """`lifetimes`: as `lifetimes()` says of the configuration in use. now_ns: boottime clock."""

    rows: RowStore
    news: SessionNews
    lifetimes: Callable[[], dict[int, int]]

    async def move(self, identity: bytes, to: IPv4Address, now_ns: int) -> int:
        """Give one session another server. Returns how many rows have changed.

        IposError when some server that is heard has not taken it within three seconds.
        """
        return await self._write(_moved(entry, to) for entry in self._entries(identity, now_ns))

    async def move_all(self, source: IPv4Address, to: IPv4Address, now_ns: int) -> int:
        """The same for all the sessions of a server."""
        found: list[Entry] = []
        for count, entry in enumerate(self.rows.all(now_ns), 1):
            if entry is not None and entry.server == source and not entry.is_revoked:
                found.append(_moved(entry, to))
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return await self._write(found)

    async def revoke(self, identity: bytes, now_ns: int) -> int:
        """End a session: its cookie names no server any more, at no server.

        The row says so for as long as a row could live that another server has used meanwhile.
        """
        lives = self.lifetimes()
        return await self._write(
            replace(
                entry,
                server=IPv4Address(0),
                turn=identities.REVOKED,
                expires_ns=max(entry.expires_ns, now_ns + lives[entry.port] * _NS),
            )
            for entry in self._entries(identity, now_ns)
        )

    def _entries(self, identity: bytes, now_ns: int) -> list[Entry]:
        found = [self.rows.get(key_of(identity, port), now_ns) for port in self.lifetimes()]
        entries = [entry for entry in found if entry is not None and not entry.is_revoked]
        if not entries:
            raise NoSuchSession(
                f"there is no session {identity.hex()}: `ipos session list` shows those there are"
            )
        return entries

    async def _write(self, changed: Iterable[Entry]) -> int:
        keys: set[bytes] = set()
        for entry in changed:
            self.rows.put(entry)
            self.news.tell(entry.key)
            keys.add(entry.key)
            if len(keys) % _AT_ONCE == 0:
                await asyncio.sleep(0)
        await self._all_told(keys)
        return len(keys)

    async def _all_told(self, keys: Set[bytes]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE_S + len(keys) / 1_000
        while behind := self.news.untold(keys):
            if loop.time() > deadline:
                names = ", ".join(str(address) for address in behind)
                raise IposError(
                    f"it is done here, but {names} has not confirmed it: its agent is told again "
                    "until it does, and its data plane may use the old server until then"
                )
            await asyncio.sleep(_LOOK_S)


def _moved(entry: Entry, to: IPv4Address) -> Entry:
    return replace(entry, server=to, turn=identities.next_turn(entry.turn))
