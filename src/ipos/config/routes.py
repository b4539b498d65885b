# SPDX-License-Identifier: Apache-2.0
"""Finds mistakes in `[[route]]` tables: rules that never fit, or do not fit as they look.

The host and path of a request are normalised before rules are compared with them, so a rule must be
written in that form.
"""

import re
from collections.abc import Callable, Iterator

from ipos.abi.layout import constant
from ipos.config import locate
from ipos.config.offers import mistakes
from ipos.config.schema import Config, Route
from ipos.selection.urlmap import rule_text
from ipos.selection.urlpath import normal_path, without_dots

RULES_MAX = constant("IPOS_RULES_MAX")
TARGETS_MAX = 300
"""Pools that routes lead to, counted once for each service that has such a route."""
HOST_MAX = constant("IPOS_RULE_HOST_MAX")
PATH_MAX = constant("IPOS_RULE_PATH_MAX")
LABELS_MAX = constant("IPOS_WILDCARD_LABELS")
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
_Say = Callable[[locate.Path, str], None]
Target = tuple[str, str | tuple[str, ...]]


def check_routes(config: Config, places: dict[locate.Path, int], say: _Say) -> None:
    """A sentence for every route that the data plane could not follow."""
    services = {service.name: service for service in config.service}
    pools = [pool.name for pool in config.pool]
    seen: _Known = {}
    offered: _Known = {}
    targets: set[Target] = set()
    if len(config.route) > RULES_MAX:
        say(
            ("route", RULES_MAX),
            f"there are {len(config.route)} routes; a farm has at most {RULES_MAX}",
        )
    for position, route in enumerate(config.route):
        here = ("route", position)
        _names(route, here, list(services), pools, say)
        _host(route, here, say)
        _path(route, here, say)
        service = services.get(route.service)
        if route.alpn is not None:
            mode = service.mode if service is not None else "auto"
            for mistake in mistakes(route.alpn, route.path, route.service, mode):
                say((*here, "alpn"), mistake)
        for known, last in _keys(route, seen, offered):
            if last in known:
                line = locate.line_of(places, ("route", known[last]))
                what = rule_text(*last[1:], () if known is seen else last[2:])
                say(
                    here,
                    f'a second route of service "{route.service}" for {what}; the first is '
                    f"on line {line}; leave one",
                )
            known.setdefault(last, position)
        if service is not None and service.select == "connection" and not route.takes_all:
            say(
                here,
                f'service "{service.name}" selects on connection, before there is a host or path '
                "to look at; its route may have neither",
            )
        targets.add((route.service, route.pool or tuple(sorted(route.servers or ()))))
        if len(targets) == TARGETS_MAX + 1:
            say(
                here,
                f"routes lead to more than {TARGETS_MAX} pools, counted for each service; let "
                "routes share pools",
            )
            targets.clear()


_Known = dict[tuple[str, str, str], int]


def _keys(
    route: Route, paths: _Known, protocols: _Known
) -> Iterator[tuple[_Known, tuple[str, str, str]]]:
    """Where a route must be the only one, and as which."""
    service, host = route.service, route.host.lower()
    if route.alpn is None:
        yield paths, (service, host, route.path)
    for protocol in sorted(set(route.alpn or ())):
        yield protocols, (service, host, protocol)


def _names(
    route: Route, here: locate.Path, services: list[str], pools: list[str], say: _Say
) -> None:
    if route.service not in services:
        _unknown("service", route.service, services, here, say)
    if (route.pool is None) == (route.servers is None):
        both = "both pool and servers" if route.pool is not None else "neither pool nor servers"
        say(here, f"a route has {both}; it must have one of them")
    if route.pool is not None and route.pool not in pools:
        _unknown("pool", route.pool, pools, here, say)
    for server in sorted({one for one in route.servers or () if _count(route, one) > 1}):
        say((*here, "servers"), f'servers names "{server}" twice; name each server once')


def _count(route: Route, server: str) -> int:
    return (route.servers or []).count(server)


def _unknown(key: str, name: str, known: list[str], here: locate.Path, say: _Say) -> None:
    there = f"there is {', '.join(known)}" if known else f"add a [[{key}]] table"
    say((*here, key), f'no {key} is called "{name}"; {there}')


def _host(route: Route, here: locate.Path, say: _Say) -> None:
    name = route.host.removeprefix("*")
    if len(name) > HOST_MAX:
        say((*here, "host"), f"host has {len(name)} characters; it may have at most {HOST_MAX}")
    if route.host.startswith("*.") and name.count(".") > LABELS_MAX:
        say(
            (*here, "host"),
            f'"{route.host}" has {name.count(".")} labels behind the asterisk; it may have at most '
            f"{LABELS_MAX}",
        )


def _path(route: Route, here: locate.Path, say: _Say) -> None:
    path = route.path.removeprefix("=")
    equals = route.path[: -len(path)]

    def wrong(why: str, right: str | None) -> None:
        better = "" if right is None else f'; write "{equals}{right}"'
        say((*here, "path"), f'path "{route.path}" {why}{better}')

    length = len(path.encode())
    if length > PATH_MAX:
        wrong(f"has {length} bytes; it may have at most {PATH_MAX}", None)
    elif "?" in path or "#" in path:
        wrong("has a query or fragment, which rules do not look at", re.split("[?#]", path)[0])
    elif _ENCODED.search(path):
        wrong("is percent-encoded, and requests are decoded before rules see them", _decoded(path))
    elif "//" in path:
        wrong("has an empty segment, which requests lose before rules see them", _plain(path))
    elif _has_dots(path, exact=bool(equals)):
        wrong("has a dot segment, which is resolved before rules see a request", _plain(path))


def _has_dots(path: str, *, exact: bool) -> bool:
    """A prefix may end in a dot: `/.` begins every hidden name."""
    *directories, last = path.split("/")
    return any(one in (".", "..") for one in directories) or last == ".." or (exact and last == ".")


def _plain(path: str) -> str | None:
    return without_dots(path)


def _decoded(path: str) -> str | None:
    """None for a path that cannot be written decoded: its bytes are no text."""
    found = normal_path(path)
    return found if found is not None and found.isprintable() and "?" not in found else None
