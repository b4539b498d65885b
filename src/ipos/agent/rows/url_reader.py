# SPDX-License-Identifier: Apache-2.0
"""Reads the URL map from the pinned maps and gives back the rules that it was made of."""

from ipos.abi import rows
from ipos.agent.rows.url_rows import PATTERNS
from ipos.agent.rows.url_writer import SERVICES, live_bank
from ipos.kernel.maps import Tables
from ipos.selection.urlmap import Rule


def installed(tables: Tables) -> dict[int, list[tuple[Rule, int]]]:
    """Rules and the index of their pools by service, in the configuration's order."""
    bank = live_bank(tables)
    found: dict[int, list[tuple[Rule, int]]] = {}
    owners: dict[int, tuple[int, str]] = {}
    for service in range(SERVICES):
        urls = tables.urls.get(bank * SERVICES + service)
        if urls is not None and urls.used:
            found[service] = []
            owners |= {urls.any: (service, "*")} if urls.any else {}
    for key, pattern in tables.hosts.items():
        if key.scope // SERVICES == bank:
            name = key.name.decode()
            host = f"*{name}" if name.startswith(".") else name
            owners[pattern] = (key.scope % SERVICES, host)
    for place, (service, host) in owners.items():
        row = tables.patterns.get(place)
        if row is not None and row.root.number:
            found[service].append((Rule(host, "/", row.root.number), row.root.pool))
    protocols: dict[tuple[int, str, int, int], list[str]] = {}
    for path_key, rule in tables.paths.items():
        if path_key.pattern // PATTERNS == bank and path_key.pattern in owners:
            service, host = owners[path_key.pattern]
            if path_key.path.startswith(b"\0"):
                one = protocols.setdefault((service, host, rule.number, rule.pool), [])
                one.append(path_key.path.strip(b"\0").decode())
            else:
                found[service].append((Rule(host, _path(path_key, rule), rule.number), rule.pool))
    for (service, host, number, pool), names in protocols.items():
        found[service].append((Rule(host, "/", number, tuple(sorted(names))), pool))
    for rules in found.values():
        rules.sort(key=lambda one: one[0].number)
    return found


def _path(key: rows.PathKey, rule: rows.Rule) -> str:
    path = key.path[: rule.length].decode("utf-8", "surrogateescape")
    return f"={path}" if key.prefix_len > 32 + 8 * rule.length else path


def pool_of_service(tables: Tables, service: int, row: rows.Service) -> int:
    """Where its requests go that no rule fits."""
    urls = tables.urls.get(live_bank(tables) * SERVICES + service)
    return urls.pool if urls is not None and urls.used else row.pool
