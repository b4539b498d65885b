# SPDX-License-Identifier: Apache-2.0
"""Decides which rule of a service fits a request. Pure and simple: it looks at every rule.

A rule names a host and a path. The host is exact (`www.example.org`), a wildcard
(`*.example.org`: every name that ends in `.example.org` and has something before it, of one
label or more), or `*`, any, also for a request that names none. The path is a prefix, character by
character as in nginx's `location /img` (`/img` fits `/img`, `/img/logo.png` and `/imgs`), or exact
(`=/img`). The prefix `/` fits every request, also one that has no path, as a TLS ClientHello.

Of the rules that fit, the one with the longest path wins; of those the one with the most exact
host, where a longer wildcard is more exact than a shorter one; of those the exact path.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """`host` in lower case; `path` normalised; `number` is its place in the file, from 1."""

    host: str
    path: str
    number: int = 0

    def __str__(self) -> str:
        return f"{self.host}{self.path}"

    @property
    def exact(self) -> bool:
        return self.path.startswith("=")

    @property
    def length(self) -> int:
        """The length of its path, in bytes."""
        return len(path_bytes(self.path.removeprefix("=")))


def path_bytes(path: str) -> bytes:
    """A path as it is on the wire, decoded."""
    return path.encode("utf-8", "surrogateescape")


def match(rules: Iterable[Rule], host: str, path: str) -> Rule | None:
    """The rule for a request; `host` in lower case without port, `path` normalised, "" for none."""
    fitting = [rule for rule in rules if fits(rule, host, path)]
    return max(fitting, key=rank, default=None)


def fits(rule: Rule, host: str, path: str) -> bool:
    """Whether the rule may be had by this request at all."""
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
