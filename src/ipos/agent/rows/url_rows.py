# SPDX-License-Identifier: Apache-2.0
"""Makes the rows of the URL map from the rules of a configuration. Pure.

Rules are grouped by service and host pattern. A pattern's row knows the next wider pattern that
fits every host it fits, so that the data plane looks a host up once and then follows the chain.
The rule for every path stands in that row; all others are prefixes in one trie. A rule of protocols
has one entry there for each, between zero bytes, which no path has.

The trie tells patterns apart bit by bit before it comes to a path. Patterns that fit many hosts are
asked for most requests, so they are numbered from the far end: few bits tell them from all names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ipos.abi import rows
from ipos.abi.layout import constant
from ipos.agent.rows import pools
from ipos.config.schema import Config, Route
from ipos.selection.urlmap import Rule, path_bytes

NO_RULE = rows.Rule(0, 0, 0)
PATTERNS = constant("IPOS_PATTERNS_MAX") // 2
"""Of a bank, number 0 included, which is none."""
_PREFIX_BITS = 32
"""Of a path key: the pattern before the path."""


@dataclass(frozen=True, slots=True)
class UrlMap:
    """One bank. Patterns' rows name each other by number, not 0; scopes are services."""

    urls: Mapping[int, rows.Urls] = field(default_factory=dict)
    patterns: Mapping[int, rows.Pattern] = field(default_factory=dict)
    hosts: Mapping[tuple[int, bytes], int] = field(default_factory=dict)
    paths: Mapping[rows.PathKey, rows.Rule] = field(default_factory=dict)


def host_name(pattern: str) -> bytes:
    """A pattern as the name that is looked up: a wildcard begins with its dot."""
    return pattern.removeprefix("*").encode()


def path_key(pattern: int, rule: Rule) -> rows.PathKey:
    """A rule's prefix; an exact one has the zero byte that ends every path."""
    return _key(pattern, path_bytes(rule.path[1:]) + b"\0" if rule.exact else path_bytes(rule.path))


def protocol_key(pattern: int, protocol: str) -> rows.PathKey:
    return _key(pattern, b"\0" + protocol.encode() + b"\0")


def _key(pattern: int, path: bytes) -> rows.PathKey:
    return rows.PathKey(_PREFIX_BITS + 8 * len(path), pattern, path)


def route_rule(route: Route, number: int) -> Rule:
    """The rule of a `[[route]]`, whose place in the configuration is `number`, from 1."""
    return Rule(route.host.lower(), route.path, number, tuple(route.alpn or ()))


def compile_urls(config: Config, slots: Sequence[str], numbers: Sequence[str]) -> UrlMap:
    """`slots` and `numbers`: services' names and pools' keys by index."""
    made = _Compiler(config, {key: index for index, key in enumerate(numbers) if key})
    by_service: dict[str, list[Rule]] = {service.name: [] for service in config.service}
    for number, route in enumerate(config.route, 1):
        by_service[route.service].append(route_rule(route, number))
    for service in config.service:
        index = slots.index(service.name)
        default = made.numbers[pools.default(config, service).key]
        made.urls[index] = made.service(index, default, by_service[service.name])
    return UrlMap(made.urls, made.patterns, made.hosts, made.paths)


class _Compiler:
    def __init__(self, config: Config, numbers: Mapping[str, int]) -> None:
        self.numbers = numbers
        self.urls: dict[int, rows.Urls] = {}
        self.patterns: dict[int, rows.Pattern] = {}
        self.hosts: dict[tuple[int, bytes], int] = {}
        self.paths: dict[rows.PathKey, rows.Rule] = {}
        self._named, self._widest = 0, PATTERNS
        self._config = config
        self._services = {service.name: service for service in config.service}
        self._targets: dict[tuple[object, ...], int] = {}

    def service(self, index: int, default: int, rules: Sequence[Rule]) -> rows.Urls:
        """A service's row; its patterns, hosts and paths beside."""
        by_host: dict[str, list[Rule]] = {}
        for rule in rules:
            by_host.setdefault(rule.host, []).append(rule)
        places = {host: self._number(host) for host in by_host}
        for host, place in places.items():
            self.patterns[place] = self._pattern(place, by_host[host], _wider(host, places))
            if host != "*":
                self.hosts[index, host_name(host)] = place
        wildcards = 0
        for host in places:
            if host.startswith("*."):
                wildcards |= 1 << host.count(".")
        exact = any(not host.startswith("*") for host in places)
        protocols = any(rule.protocols for rule in rules)
        return rows.Urls(places.get("*", 0), default, wildcards, True, exact, protocols)

    def _number(self, host: str) -> int:
        if host.startswith("*"):
            self._widest -= 1
            return self._widest
        self._named += 1
        return self._named

    def _pattern(self, place: int, rules: Sequence[Rule], wider: int) -> rows.Pattern:
        root, longest = NO_RULE, 0
        for rule in rules:
            row = rows.Rule(self._pool(rule.number), rule.length, rule.number)
            for protocol in rule.protocols:
                self.paths[protocol_key(place, protocol)] = row
            if rule.protocols:
                continue
            if rule.path == "/":
                root = row
            else:
                longest = max(longest, rule.length)
                self.paths[path_key(place, rule)] = row
        return rows.Pattern(root, wider, longest)

    def _pool(self, number: int) -> int:
        route = self._config.route[number - 1]
        said = (route.service, route.pool, tuple(route.servers or ()))
        if said not in self._targets:
            made = pools.target(self._config, self._services[route.service], route)
            self._targets[said] = self.numbers[made.key]
        return self._targets[said]


def _wider(host: str, places: Mapping[str, int]) -> int:
    """The most exact other pattern that fits all hosts of this one; 0 for none."""
    rest = host.removeprefix("*.")
    while "." in rest:
        rest = rest.partition(".")[2]
        if f"*.{rest}" in places:
            return places[f"*.{rest}"]
    return places.get("*", 0) if host != "*" else 0
