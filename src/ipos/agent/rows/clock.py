# SPDX-License-Identifier: Apache-2.0
"""Writes what depends on the wall clock into the data plane: its settings and its cookie keys."""

import dataclasses
import secrets
import time

from ipos.abi.rows import Options, SettingsFlags, Uplink
from ipos.agent.host.own_state import slept_ns, wall_offset_ns
from ipos.agent.network import own_pair
from ipos.agent.network.interfaces import Interface, vlan_index
from ipos.agent.rows import desired
from ipos.agent.rows.cookie_keys import CookieKeys, SessionKeys, tag_keys
from ipos.config import ownprograms
from ipos.config.schema import Config
from ipos.handshake.keys import KeyRing
from ipos.kernel.libbpf import Map
from ipos.kernel.maps import Tables

_SETTLED_NS = 1_000_000
_KEPT = SettingsFlags.CAPTURE | SettingsFlags.ANSWERS_UNREAD | SettingsFlags.BOXES


class WallClock:
    """Writes the `settings` of one server's data plane, and its keys ahead of time."""

    def __init__(
        self,
        tables: Tables,
        keys: KeyRing,
        front: Interface,
        back: Interface,
        me: int,
        uplinks: tuple[Uplink, ...] = (),
        back_ip: int = 0,
    ) -> None:
        """`me` is this server's index. uplinks: where there are several front interfaces. back_ip:
        our back address.
        """
        self._back_ip = back_ip
        self._uplinks = uplinks
        self._tables = tables
        self._front, self._back = front, back
        self._me = me
        with Map.open(tables.directory / "hold_pool") as pool:
            self._pieces = pool.max_entries
        self._told: Config | None = None
        self.take(keys)
        self._offset_ns = 0
        self._farm = (Options(0), 0, False, False)
        self._vouch = secrets.randbits(63) + 1

    def allow_boxes(self) -> None:
        """Some application is in a container. From now on the data plane asks for each packet where
        it goes, and follows what is answered: a container may vanish, and its clients are reset
        where they stand.
        """
        found = self._tables.settings.get(0)
        if found is not None and SettingsFlags.BOXES not in found.flags:
            flags = (found.flags | SettingsFlags.BOXES) & ~SettingsFlags.ANSWERS_UNREAD
            self._tables.settings.put(0, dataclasses.replace(found, flags=flags))

    def take(self, keys: KeyRing) -> None:
        """Use these keys from the next `keep` on."""
        self._keys = keys
        self._cookie_keys = CookieKeys(self._tables, keys)
        self._session_keys = SessionKeys(self._tables, keys)
        self._tag_keys = tag_keys(keys)
        self._told = None

    def keep(
        self,
        config: Config,
        *,
        watched: bool,
        withheld: Options = Options(0),
        servers: int = 1,
        all_answer: bool = False,
        drains: bool = False,
    ) -> None:
        """Write what is not so yet. watched: somebody wants to be told of decisions. withheld: TCP
        options that are offered to nobody. servers, all_answer: see `desired.settings`. drains:
        this server is to lose its connections, so that answers are read from now on.
        """
        self._cookie_keys.fill(time.time())
        self._session_keys.fill(time.time())
        offset_ns = wall_offset_ns()
        farm = (withheld, servers, all_answer, drains)
        told = config is self._told and farm == self._farm
        if told and abs(offset_ns - self._offset_ns) <= _SETTLED_NS:
            return
        found = self._tables.settings.get(0)
        if found and found.abi:
            kept = found.flags & _KEPT
        else:  # a data plane that is new knows of no connection whose answers must be read
            kept = SettingsFlags.ANSWERS_UNREAD
        if watched:
            kept |= SettingsFlags.WATCH
        if drains:
            kept = (kept | SettingsFlags.DRAINS) & ~SettingsFlags.ANSWERS_UNREAD
        if found and found.abi:
            self._vouch = found.vouch or self._vouch
        server = config.server
        if self._told is None:  # before the settings, which say whether the other key counts
            self._tables.tag_keys.put(0, self._tag_keys)
        self._tables.settings.put(
            0,
            desired.settings(
                config,
                desired.Interface(
                    self._front.index,
                    server.front_vlan,
                    self._front.mac,
                    vlan_index(self._front.name, server.front_vlan),
                ),
                desired.Interface(self._back.index, server.back_vlan, self._back.mac),
                self._me,
                self._keys,
                offset_ns,
                kept,
                slept_ns(),
                self._vouch,
                self._pieces,
                withheld,
                own_pair.indices() if ownprograms.source(config) else (0, 0),
                servers,
                all_answer,
                self._uplinks,
                self._back_ip,
            ),
        )
        self._told, self._offset_ns, self._farm = config, offset_ns, farm
