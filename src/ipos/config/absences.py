# SPDX-License-Identifier: Apache-2.0
"""Things that a configuration names and that do not exist: members, servers, services. Pure.

Each answer is a list of sentences for `ipos status`. Some seconds after a start nothing is said:
the others may only be starting too.
"""

from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address

from ipos.config.schema import Config
from ipos.config.slots import is_slot

QUIET_NS = 5_000_000_000
"""So long after its start an agent says nothing of this."""
_NAMED_MAX = 8


def unheard(addresses: Iterable[IPv4Address]) -> list[str]:
    """Members from which nothing has ever come. addresses: theirs, on back."""
    return [
        f"{address} is a member of this farm and was never heard of: start its agent, or let UDP "
        "port 7077 pass its firewall and ours"
        for address in sorted(addresses)[:_NAMED_MAX]
    ]


def unknown_servers(config: Config, names: Iterable[str]) -> list[str]:
    """Pools and routes with servers that the farm does not have. names: those of its servers."""
    known = frozenset(names)
    found = [
        (f"pool {pool.name}", name)
        for pool in config.pool
        for name in pool.servers
        if name not in known
    ]
    found += [
        (f"a route of service {route.service}", name)
        for route in config.route
        for name in route.servers or ()
        if name not in known
    ]
    return [
        f"{where} has the server {name}, and none of that name was heard of: correct the name, or "
        "start that server"
        for where, name in dict.fromkeys(found[:_NAMED_MAX])
    ]


def unserved(config: Config, served: Iterable[str]) -> list[str]:
    """Services that no server of the farm serves. served: the names of those that one does."""
    known = frozenset(served)
    return [
        f"no server serves {service.name}: nothing listens on port {service.listener.port}, or its "
        "check fails"
        for service in config.service
        if service.name not in known and service.start is None
    ]


def idle(config: Config, served: Mapping[str, Collection[str]]) -> list[str]:
    """Servers that are up and do not serve what they should: any service at all, and those whose
    routes name them. served: the services of each server, by its name.
    """
    if not any(served.values()):  # which `unserved` says of each service
        return []
    started = [service.name for service in config.service if service.start is not None]
    on_demand = [name for name in started if not is_slot(name)]
    found = [
        f"{name} serves nothing: no application of a service listens there, or its check fails; "
        "start it, or look at its check"
        for name, services in served.items()
        if not services and not on_demand
    ]
    pools = {pool.name: [name for name, w in pool.servers.items() if w] for pool in config.pool}
    named = [
        (route.service, name)
        for route in config.route
        for name in (pools.get(route.pool) if route.pool else route.servers) or ()
        if served.get(name) and route.service not in served[name]
    ]
    ports = {service.name: service.listener.port for service in config.service}
    found += [
        f"{name} is to serve {service} by a route and does not serve it: nothing listens on port "
        f"{ports[service]} there, or its check fails"
        for service, name in dict.fromkeys(named)
    ]
    return found[:_NAMED_MAX]
