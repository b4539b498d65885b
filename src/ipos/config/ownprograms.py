# SPDX-License-Identifier: Apache-2.0
"""What the rules of a farm mean for programs on this server itself. Pure.

Every service address is a local address of every server, so what a program on a server sends there
never leaves its kernel, and that server's own application would answer. Where rules or sessions
could lead to another server, `own_programs` decides: the data plane refuses the connection, or the
program is a client of the farm, or its own application answers.
"""

from ipaddress import IPv4Address

from ipos.config.schema import Config, Service
from ipos.ip_family import fours
from ipos.selection.urlmap import rule_text

SHOWN = 3
_BY_COOKIE_OR_NAME = ("insert", "learn", "identify", "redirect")


def source(config: Config) -> IPv4Address | None:
    """What this server's own programs are clients of the farm with; None: they are none."""
    own = fours(config.server.addresses) if config.farm.own_programs == "farm" else []
    return own[0] if own else None


def is_refused(config: Config, service: Service) -> bool:
    """Whether connections of this server's own programs to a service are refused."""
    return config.farm.own_programs != "local" and bool(_elsewhere(config, service))


def notes(config: Config) -> list[str]:
    """A sentence for every service some of whose requests are not for this server."""
    me = config.server.name
    found: list[str] = []
    if config.farm.own_programs == "farm":
        return found
    for service in config.service:
        reasons = _elsewhere(config, service)
        if not reasons:
            continue
        where = f'programs on {me} itself that connect to the service "{service.name}"'
        what = f"get the application of {me}, also where {' and where '.join(reasons)}"
        remedy = "let them call the other servers by their back addresses"
        if config.farm.own_programs == "refuse":
            found.append(
                f"{where} are refused, because they would {what}: {remedy}, or say "
                'own_programs = "farm" in [farm]'
            )
        else:
            found.append(f"{where} {what}: {remedy}")
    return found


def _elsewhere(config: Config, service: Service) -> list[str]:
    """What may lead a request of a service to servers without this one."""
    me = config.server.name
    pools = {
        pool.name: {name for name, weight in pool.servers.items() if weight} for pool in config.pool
    }
    rules = [
        rule_text(route.host, route.path, route.alpn or ())
        for route in config.route
        if route.service == service.name
        and me not in (route.servers or pools.get(route.pool or "", {me}))
    ]
    found = []
    if rules:
        shown = ", ".join(rules[:SHOWN])
        more = f" and {len(rules) - SHOWN} more" if len(rules) > SHOWN else ""
        found.append(f"routes lead to other servers ({shown}{more})")
    if service.session is not None and service.session.kind in _BY_COOKIE_OR_NAME:
        found.append("a session is with another server")
    return found
