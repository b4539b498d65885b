# SPDX-License-Identifier: Apache-2.0
"""What the data plane has that follows the wall clock: settings, and cookie keys."""

import time

from ipos.agent import plan
from ipos.agent.cookiekeys import CookieKeys, SessionKeys
from ipos.agent.network import Interface
from ipos.agent.observer import slept_ns, wall_offset_ns
from ipos.config.schema import Config
from ipos.handshake.keys import FarmKeys
from ipos.inic.maps import Tables
from ipos.inic.rows import SettingsFlag

_SETTLED_NS = 1_000_000


class WallClock:
    """Writes the `settings` of one server's data plane, and its keys ahead of time."""

    def __init__(
        self, tables: Tables, keys: FarmKeys, front: Interface, back: Interface, me: int
    ) -> None:
        """`me` is this server's index."""
        self._tables = tables
        self._keys = keys
        self._front, self._back = front, back
        self._me = me
        self._cookie_keys = CookieKeys(tables, keys)
        self._session_keys = SessionKeys(tables, keys)
        self._told: Config | None = None
        self._offset_ns = 0

    def keep(self, config: Config, *, watched: bool) -> None:
        """Write what is not so yet. watched: somebody wants to be told of decisions."""
        self._cookie_keys.fill(time.time())
        self._session_keys.fill(time.time())
        offset_ns = wall_offset_ns()
        if config is self._told and abs(offset_ns - self._offset_ns) <= _SETTLED_NS:
            return
        found = self._tables.settings.get(0)
        if found and found.abi:
            kept = found.flags & (SettingsFlag.CAPTURE | SettingsFlag.ANSWERS_UNREAD)
        else:  # a data plane that is new knows of no connection whose answers must be read
            kept = SettingsFlag.ANSWERS_UNREAD
        if watched:
            kept |= SettingsFlag.WATCH
        server = config.server
        self._tables.settings.put(
            0,
            plan.settings(
                config,
                plan.Interface(self._front.index, server.front_vlan, self._front.mac),
                plan.Interface(self._back.index, server.back_vlan, self._back.mac),
                self._me,
                self._keys,
                offset_ns,
                kept,
                slept_ns(),
            ),
        )
        self._told, self._offset_ns = config, offset_ns
