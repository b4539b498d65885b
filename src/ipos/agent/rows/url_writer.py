# SPDX-License-Identifier: Apache-2.0
"""Writes the URL map into the bank that no request reads, and then switches to it in one step.

What an earlier agent left in the idle bank, written whole or in part, is removed first.
"""

import dataclasses

from ipos.abi import rows
from ipos.abi.layout import constant
from ipos.agent.rows.url_rows import PATTERNS, UrlMap
from ipos.kernel.maps import Tables

SERVICES = constant("IPOS_SERVICES_MAX")
NO_URLS = rows.Urls()


class UrlWriter:
    """Writes the URL map."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._written: dict[int, tuple[list[rows.HostKey], list[rows.PathKey]]] = {}
        self._prepared: int | None = None

    def prepare(self, wanted: UrlMap) -> None:
        """Fill the idle bank. No request sees it before `switch`. MapError when one is full."""
        bank = 1 - live_bank(self._tables)
        self._prepared = None
        self._clear(bank)
        hosts, paths = self._written.setdefault(bank, ([], []))
        first_pattern, first_service = bank * PATTERNS, bank * SERVICES

        def shifted(pattern: int) -> int:
            return pattern + first_pattern if pattern else 0

        for index, pattern in wanted.patterns.items():
            row = dataclasses.replace(pattern, wider=shifted(pattern.wider))
            self._tables.patterns.put(shifted(index), row)
        for (service, name), index in wanted.hosts.items():
            host = rows.HostKey(first_service + service, name)
            hosts.append(host)
            self._tables.hosts.put(host, shifted(index))
        for key, rule in wanted.paths.items():
            path = dataclasses.replace(key, pattern=shifted(key.pattern))
            paths.append(path)
            self._tables.paths.put(path, rule)
        for service in range(SERVICES):
            urls = wanted.urls.get(service, NO_URLS)
            urls = dataclasses.replace(urls, any=shifted(urls.any))
            self._tables.urls.put(first_service + service, urls)
        self._prepared = bank

    def switch(self) -> None:
        """Let requests see what was prepared, if anything was."""
        if self._prepared is not None:
            self._tables.url_bank.put(0, self._prepared)
            self._prepared = None

    def _clear(self, bank: int) -> None:
        hosts, paths = self._written.pop(bank) if bank in self._written else self._found(bank)
        for host in hosts:
            self._tables.hosts.delete(host)
        for path in paths:
            self._tables.paths.delete(path)

    def _found(self, bank: int) -> tuple[list[rows.HostKey], list[rows.PathKey]]:
        tables = self._tables
        return (
            [key for key, _ in tables.hosts.items() if key.scope // SERVICES == bank],
            [key for key, _ in tables.paths.items() if key.pattern // PATTERNS == bank],
        )


def live_bank(tables: Tables) -> int:
    """The bank that requests look at."""
    return (tables.url_bank.get(0) or 0) & 1
