# SPDX-License-Identifier: Apache-2.0
"""Which pools there are, their numbers in the data plane, and their rows. Pure.

A pool is identified by its content: service, policy and weights. Routes with the same content share
one, and a pool whose content changes is another pool with another number. So the rules in use keep
leading where they led, until the data plane switches to the new ones.
"""

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from ipos.abi import rows
from ipos.abi.layout import constant
from ipos.config.schema import Config, Route, Service
from ipos.errors import IposError


@dataclass(frozen=True, slots=True)
class Definition:
    """`weights` by server name; None: every server that listens, alike. `label`: for people."""

    service: str
    policy: str
    weights: tuple[tuple[str, int], ...] | None
    label: str = field(default="", compare=False)

    @property
    def servers(self) -> dict[str, int] | None:
        """The weights as a mapping."""
        return None if self.weights is None else dict(self.weights)

    @property
    def key(self) -> str:
        """The whole definition in one line."""
        if self.weights is None:
            return f"{self.service} {self.policy} *"
        return f"{self.service} {self.policy} {','.join(f'{n}={w}' for n, w in self.weights)}"


def listening(service: Service) -> Definition:
    """The pool of all servers that could serve any request of the service."""
    return Definition(service.name, _policy(service, service.policy), None)


def default(config: Config, service: Service) -> Definition:
    """The pool for requests that no other rule fits."""
    for route in config.route:
        if route.service == service.name and route.takes_all:
            return target(config, service, route)
    return listening(service)


def target(config: Config, service: Service, route: Route) -> Definition:
    """The pool for requests that a route's rule fits."""
    if route.servers is not None:
        weights = tuple((name, 1) for name in sorted(route.servers))
        policy = _policy(service, service.policy)
        return Definition(service.name, policy, weights, ", ".join(route.servers))
    pool = next(pool for pool in config.pool if pool.name == route.pool)
    weights = tuple(sorted(pool.servers.items()))
    policy = _policy(service, pool.policy or service.policy)
    return Definition(service.name, policy, weights, pool.name)


def _policy(service: Service, said: str) -> str:
    """A session by the client's address is a policy that keeps clients with their servers."""
    by_source = service.session is not None and service.session.kind == "source"
    return "source-hash" if by_source else said


def definitions(config: Config) -> dict[str, Definition]:
    """Every pool by its key: those of the services first."""
    services = {service.name: service for service in config.service}
    found = [default(config, service) for service in config.service]
    found += [listening(service) for service in config.service]
    known: dict[tuple[str, str | None, tuple[str, ...]], Definition] = {}
    for route in config.route:
        said = (route.service, route.pool, tuple(route.servers or ()))
        if said not in known:
            known[said] = target(config, services[route.service], route)
    by_key: dict[str, Definition] = {}
    for one in (*found, *known.values()):
        by_key.setdefault(one.key, one)
    return by_key


def number_services(config: Config, before: Sequence[str]) -> list[str]:
    """Services' names by index, "" where there is none.

    A service keeps the index it had `before`: connections of the data plane refer to it.
    """
    names = [service.name for service in config.service]
    slots = [name if name in names else "" for name in before]
    for name in names:
        if name not in slots:
            free = slots.index("") if "" in slots else len(slots)
            slots[free : free + 1] = [name]
    return slots


def number_pools(
    wanted: Collection[str], before: Sequence[str] = (), live: Collection[str] = ()
) -> list[str]:
    """Keys by index, "" where there is none. Those wanted, and those `live` that rules still use.

    IposError when there are too many.
    """
    slots = [key if key in wanted or key in live else "" for key in before]
    free = [index for index, key in enumerate(slots) if not key]
    taken = set(slots)
    for key in wanted:
        if key in taken:
            continue
        if free:
            slots[free.pop(0)] = key
        else:
            slots.append(key)
    most = constant("IPOS_POOLS_MAX")
    if len(slots) > most:
        raise IposError(f"the pools of old and new routes are {len(slots)}; {most} have room")
    return slots


def pool_row(
    policy: rows.Policy | int,
    candidates: Iterable[rows.Candidate],
    firsts: int = 0,
    up: Collection[int] | None = None,
) -> rows.Pool:
    """The row. `up` are the servers whose starts are compared with those of others; None: all.

    ValueError for more candidates than there is room for.
    """
    summed = []
    upto = 0
    for one in sorted(candidates, key=lambda one: one.server):
        upto += one.weight
        summed.append(dataclasses.replace(one, upto=upto))
    most = constant("IPOS_CANDIDATES_MAX")
    if len(summed) > most:
        raise ValueError(f"{len(summed)} servers in one pool; {most} have room")
    weights = {one.weight for one in summed}
    ramps = [one.ramp for one in summed]
    counted = [one.ramp for one in summed if up is None or one.server in up]
    return rows.Pool(
        policy=rows.Policy(policy),
        ramp_least=min(ramps, default=0),
        ramp_most=max(counted, default=0),
        even=weights.pop() if len(weights) == 1 else 0,
        mean=upto // max(1, len(summed)),
        firsts=firsts,
        candidates=tuple(summed),
    )
