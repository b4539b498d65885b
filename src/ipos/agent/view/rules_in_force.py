# SPDX-License-Identifier: Apache-2.0
"""The rules that a data plane follows, read back from its maps, and what they say of a URL.

`ipos.selection.urlmap` decides, by the rules found there. This works without an agent.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from ipos.abi import rows
from ipos.agent.rows.url_reader import installed, pool_of_service
from ipos.agent.view.table_views import View
from ipos.config.slots import is_slot
from ipos.errors import IposError
from ipos.selection.urlmap import Rule, fits, match, rank
from ipos.selection.urlpath import normal_path

_ALL = "every server that listens"
_PORTS = {"http": 80, "https": 443}


class Unexplained(IposError):
    """The question is no request that this farm could get."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A URL as a request would say it: host in lower case, path normalised.

    offers: the protocols of a client of TLS or QUIC, which tells no path; `path` is "" then.
    """

    host: str
    port: int
    path: str
    offers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loser:
    """A rule that fits as well, and why it was not taken."""

    route: int
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Routed:
    """`route` is the rule's place in the configuration, None where none fits; `pool` an index."""

    route: int | None
    rule: str | None
    reason: str
    pool: int
    others: tuple[Loser, ...] = ()


def asked(url: str, alpn: str = "") -> Asked:
    """Unexplained for what is no URL of a request. alpn: protocols, with commas between them."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise Unexplained(f"{url} is no URL: {error}") from None
    if not parts.hostname or not port:
        raise Unexplained(f"{url} names no host and port: such as http://203.0.113.1/img/")
    path = normal_path(parts.path or "/")
    if path is None:
        raise Unexplained(f"{url} has a path above the root, which is refused with 400")
    offers = tuple(filter(None, alpn.split(",")))
    return Asked(parts.hostname.lower(), port, "" if offers else path, offers)


def routed(view: View, service: int, host: str, path: str, offers: tuple[str, ...] = ()) -> Routed:
    """The rule for a request of this service: host in lower case, path normalised."""
    row = view.tables.services.get(service)
    if row is None or not row.used:
        raise Unexplained(f"service {service} has no row in the iNIC any more: ask again")
    if row.select is rows.Select.CONNECTION:
        return Routed(None, None, "it is decided on connection, before anything is said", row.pool)
    rules = installed(view.tables).get(service, [])
    winner = match((rule for rule, _ in rules), host, path, offers)
    if winner is None:
        reason = "no route fits" if rules else "the service has no routes"
        return Routed(None, None, reason, pool_of_service(view.tables, service, row))
    pool = next(pool for rule, pool in rules if rule == winner)
    others = sorted(
        (rule for rule, _ in rules if rule != winner and fits(rule, host, path, offers)),
        key=rank,
        reverse=True,
    )
    losers = tuple(Loser(rule.number, str(rule), _why_not(rule, winner, offers)) for rule in others)
    reason = f"the best of {len(losers) + 1} that fit" if losers else "the only one that fits"
    return Routed(winner.number, str(winner), reason, pool, losers)


def _why_not(rule: Rule, winner: Rule, offers: tuple[str, ...]) -> str:
    first = next((one for one in offers if one in winner.protocols), None)
    if first is not None and first not in rule.protocols:
        return f"{first}, which the client offers, has a route, and comes before it"
    if rule.length != winner.length:
        return f"its path is shorter: {rule.length} of {winner.length}"
    if rule.host != winner.host:
        return "its host is less exact"
    return "it is no exact path"


def service_name(view: View, service: int) -> str:
    """A service's name, or its number where no agent has told any."""
    names = view.snapshot.services
    return (names[service] if service < len(names) else "") or f"service {service}"


def pool_label(view: View, pool: int) -> str:
    """A pool's name in sentences; the pool of all servers has a description in its place."""
    labels = view.snapshot.labels
    return (labels[pool] if pool < len(labels) else "") or _ALL


def server_names(view: View) -> dict[int, str]:
    """Every server's name by index, or its address where it has not told one."""
    said = {one.index: one.server for one in view.snapshot.servers}
    return {index: said.get(index) or str(server.address) for index, server in view.servers()}


def pool_servers(view: View, pool: int, names: Mapping[int, str]) -> list[str]:
    """The names of a pool's candidates."""
    found = view.tables.pools.get(pool)
    return [names.get(one.server, "-") for one in (found.candidates if found else ())]


def route_list(view: View) -> list[dict[str, Any]]:
    """Every rule in use; at each service's end where requests go that none fits."""
    found = []
    rules = installed(view.tables)
    names = server_names(view)
    pools: dict[int, tuple[str, list[str]]] = {}
    for service, row in view.tables.services.items():
        if not row.used:
            continue
        name = service_name(view, service)
        own: list[tuple[Rule | None, int]] = list(rules.get(service, []))
        if not any(rule is not None and str(rule) == "*/" for rule, _ in own):
            own.append((None, pool_of_service(view.tables, service, row)))
        for rule, pool in own:
            if pool not in pools:
                pools[pool] = pool_label(view, pool), pool_servers(view, pool, names)
            label, servers = pools[pool]
            if is_slot(name) and not servers:  # nothing is spawned there
                continue
            found.append(
                {
                    "route": rule.number if rule else None,
                    "service": name,
                    "host": rule.host if rule else "*",
                    "path": rule.path if rule else "/",
                    "alpn": list(rule.protocols) if rule else [],
                    "pool": label,
                    "servers": servers,
                }
            )
    return found


def route_test(view: View, url: str, service: str = "", alpn: str = "") -> dict[str, Any]:
    """Which rule a URL meets and why; `service` by name, else by the URL's port."""
    request = asked(url, alpn)
    index = _named(view, service) if service else _by_port(view, request.port)
    found = routed(view, index, request.host, request.path, request.offers)
    return {
        "url": url,
        "service": service_name(view, index),
        "host": request.host,
        "path": request.path,
        "alpn": request.offers,
        "route": found.route,
        "rule": found.rule,
        "reason": found.reason,
        "pool": pool_label(view, found.pool),
        "servers": pool_servers(view, found.pool, server_names(view)),
        "others": [asdict(one) for one in found.others],
    }


def _named(view: View, service: str) -> int:
    names = [name for name in view.snapshot.services if name]
    if service not in names:
        raise Unexplained(f'no service is called "{service}"; there is {", ".join(names)}')
    return view.snapshot.services.index(service)


def _by_port(view: View, port: int) -> int:
    for index, row in view.tables.services.items():
        if row.used and row.port == port:
            return index
    raise Unexplained(f"no service has port {port}; name one with --service")
