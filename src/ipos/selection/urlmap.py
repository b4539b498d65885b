# SPDX-License-Identifier: Apache-2.0
"""Decides which rule of a service fits a request. Pure and simple: it looks at every rule.

A rule names a host and a path. The host is exact (`www.example.org`), a wildcard
(`*.example.org`: every name that ends in `.example.org` and has something before it, of one
label or more), or `*`, any, also for a request that names none. The path is a prefix, character by
character as in nginx's `location /img` (`/img` fits `/img`, `/img/logo.png` and `/imgs`), or exact
(`=/img`). The prefix `/` fits every request, also one that has no path, as a TLS ClientHello.

A rule may name protocols instead of a path: those that a ClientHello offers (RFC 7301).

The first protocol of the client's list that a rule for its host names decides, and of its rules the
one with the most exact host. Where there is none, of the rules without protocols that fit, the one
with the longest path wins; of those the one with the most exact host, where a longer wildcard is
more exact than a shorter one; of those the exact path.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ipos.abi.layout import constant

OFFERS = constant("IPOS_OFFERS")
"""Protocols of a client that are looked up, and no more."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`host` in lower case; `path` normalised, "/" for one of `protocols`; `number` is its place
    in the file, from 1.
    """

    host: str
    path: str
    number: int = 0
    protocols: tuple[str, ...] = ()

    def __str__(self) -> str:
        return rule_text(self.host, self.path, self.protocols)

    @property
    def exact(self) -> bool:
        return self.path.startswith("=")

    @property
    def length(self) -> int:
        """The length of its path, in bytes."""
        return len(path_bytes(self.path.removeprefix("=")))


def rule_text(host: str, path: str, protocols: Sequence[str]) -> str:
    """How a rule is called where people read of it."""
    return f"{host} alpn {','.join(protocols)}" if protocols else f"{host}{path}"


def path_bytes(path: str) -> bytes:
    """A path as it is on the wire, decoded."""
    return path.encode("utf-8", "surrogateescape")


def match(rules: Iterable[Rule], host: str, path: str, offers: Sequence[str] = ()) -> Rule | None:
    """The rule for a request; `host` in lower case without port, `path` normalised, "" for none.

    offers: the protocols of a ClientHello, in its order.
    """
    fitting = [rule for rule in rules if fits(rule, host, path, offers)]
    for offer in offers[:OFFERS]:
        named = [rule for rule in fitting if offer in rule.protocols]
        if named:
            return max(named, key=rank)
    return max((rule for rule in fitting if not rule.protocols), key=rank, default=None)


def fits(rule: Rule, host: str, path: str, offers: Sequence[str] = ()) -> bool:
    """Whether the rule may be had by this request at all."""
    if rule.protocols and not set(rule.protocols) & set(offers[:OFFERS]):
        return False
    return _fits_host(rule.host, host) and _fits_path(rule, path)


def rank(rule: Rule) -> tuple[int, int, int, bool]:
    """The greatest wins: path, kind of host, length of a wildcard, exact path."""
    kind = 0 if rule.host == "*" else 1 if rule.host.startswith("*.") else 2
    return rule.length, kind, len(rule.host), rule.exact


def _fits_host(wanted: str, host: str) -> bool:
    if wanted == "*":
        return True
    if wanted.startswith("*."):
        return host.endswith(wanted[1:]) and len(host) > len(wanted) - 1
    return host == wanted


def _fits_path(rule: Rule, path: str) -> bool:
    if rule.exact:
        return path == rule.path[1:]
    return rule.path == "/" or path.startswith(rule.path)
