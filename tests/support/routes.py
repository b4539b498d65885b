# SPDX-License-Identifier: Apache-2.0
"""The C core's choice of a rule against `ipos.selection.urlmap`.

Random rule sets over few names, so that much fits and ties abound, compiled and written as the
agent does it, bank after bank.
"""

from __future__ import annotations

import random
from pathlib import Path

from ipos.agent.rows import pools
from ipos.agent.rows.url_rows import compile_urls, route_rule
from ipos.agent.rows.url_writer import UrlWriter
from ipos.config import schema
from ipos.config.schema import Config, Route, Service
from ipos.kernel.maps import Tables
from ipos.selection.urlmap import match, path_bytes
from native.library import Node
from spec.requests.tls import OFFERS_MAX

SIZES = {
    "forward": 16, "local": 16, "connect": 16, "temporary": 64, "holding": 16, "hold_pool": 64,
    "hold_free": 64, "deny": 16,
}  # fmt: skip
_LABELS = ("a", "b", "org", "x" * 20)
_SEGMENTS = ("a", "b", "img", "\u00fc", ".", "y" * 60)
_PROTOCOLS = ("h2", "h2c", "http/1.1", "/a", "x" * 32, "y" * 33, "z" * 60)
"""Those of more than 32 bytes are offered, and no rule names them."""
_REQUESTS = 100


def run(seed: int, count: int) -> tuple[int, list[str]]:
    """So many requests; how many there were, and what differed."""
    rng = random.Random(seed)
    found: list[str] = []
    done = 0
    with Node(SIZES) as node:
        tables = Tables(Path(), lambda path: node.store(path.name))
        writer = UrlWriter(tables)
        while done < count and len(found) < 20:
            config = _config(rng)
            slots = ["", *(service.name for service in config.service)]
            numbers = pools.number_pools(pools.definitions(config))
            writer.prepare(compile_urls(config, slots, numbers))
            writer.switch()
            for _ in range(_REQUESTS):
                found += _request(node, config, slots, numbers, rng)
            done += _REQUESTS
    return done, found


def _config(rng: random.Random) -> Config:
    services = [Service(name=f"web{n}", port=80 + n) for n in range(2)]
    routes: dict[tuple[str, ...], Route] = {}
    for _ in range(rng.choice((0, 1, 3, 10, 40))):
        service = rng.choice(services).name
        host, path = _pattern(rng), rng.choice(("", "", "=")) + _path(rng)
        servers = [f"s{rng.randrange(20)}"]
        if rng.random() < 0.3:
            protocols = rng.sample(_PROTOCOLS[:5], rng.choice((1, 1, 2)))
            for key in [one for one in routes if one[:2] == (service, host) and len(one) > 3]:
                del routes[key]  # no protocol twice
            routes[service, host, "/", *protocols] = Route(
                service=service, host=host, alpn=protocols, servers=servers
            )
            continue
        routes[service, host, path] = Route(service=service, host=host, path=path, servers=servers)
    return Config(
        farm=schema.Farm(name="shop", secret_file=Path("farm.key")),
        server=schema.Server(name="s1", front="f", back="b", addresses=[]),
        service=services,
        route=list(routes.values()),
    )


def _request(
    node: Node, config: Config, slots: list[str], numbers: list[str], rng: random.Random
) -> list[str]:
    index = rng.randrange(1, len(slots))
    host, path = _host(rng), rng.choice(("", _path(rng), _path(rng) + _path(rng)))
    offers = []
    if not path:
        offers = rng.choices(_PROTOCOLS, k=rng.choice((0, 1, 2, 3, 20)))
        while sum(len(one) + 1 for one in offers) > OFFERS_MAX:
            offers.pop()
    rules = [
        route_rule(route, number)
        for number, route in enumerate(config.route, 1)
        if route.service == slots[index]
    ]
    rule = match(rules, host, path, offers)
    service = config.service[index - 1]
    wanted = pools.default(config, service)
    if rule is not None:
        wanted = pools.target(config, service, config.route[rule.number - 1])
    told = (numbers.index(wanted.key), rule.number if rule else 0)
    chosen = node.route(index, host.encode(), path_bytes(path), [one.encode() for one in offers])
    if chosen == told:
        return []
    return [
        f"{host!r} {path!r} {offers}: the core chose {chosen}, the oracle {told} ({rule}): {rules}"
    ]


def _host(rng: random.Random) -> str:
    labels = rng.choice((0, 1, 1, 2, 2, 3, 4, 5, 9, 12))
    host = ".".join(rng.choice(_LABELS) for _ in range(labels))
    return rng.choice(("", "", "", ".")) + host + rng.choice(("", "", "", "."))


def _pattern(rng: random.Random) -> str:
    labels = rng.choice((0, 1, 1, 2, 2, 3, 4, 5, 8))
    host = ".".join(rng.choice(_LABELS) for _ in range(labels))
    wild = rng.random() < 0.6
    if not host:
        return "*"
    if len(host) > 119:
        return _pattern(rng)
    return f"*.{host}" if wild else host


def _path(rng: random.Random) -> str:
    segments = rng.choice((1, 1, 2, 2, 3, 4))
    path = "".join(f"/{rng.choice(_SEGMENTS)}" for _ in range(segments))
    cut = rng.choice((len(path), len(path), 1, rng.randint(1, len(path))))
    path = path[:cut]
    return path if len(path_bytes(path)) <= 240 else "/"
