# SPDX-License-Identifier: Apache-2.0
"""Which requests a service needs to read, and what contradicts its `mode` or `protocol`."""

from collections.abc import Callable, Iterator

from ipos.config import locate
from ipos.config.schema import Config, Route, Service

_BY_COOKIE_OR_NAME = ("insert", "learn", "identify", "redirect")
_Say = Callable[[locate.Path, str], None]


def asks(config: Config, service: Service) -> bool:
    """Whether a route, the session or `decide` asks for something that a request says."""
    return (
        service.decide == "request"
        or _session_asks(service)
        or any(not route.takes_all for _, route in _routes(config, service))
    )


def takes_syns(config: Config, service: Service) -> bool:
    """Whether a server may be chosen when a client's SYN comes, because no rule needs more."""
    if service.select == "connection":
        return True
    unread = service.mode in ("auto", "tcp") and not asks(config, service)
    return service.protocol == "tcp" and service.start is None and unread


def check_modes(config: Config, say: _Say) -> None:
    """A sentence for every service whose mode says that others of its keys could not hold."""
    for position, service in enumerate(config.service):
        here = ("service", position, "mode")
        if service.mode in ("auto", "quic"):
            continue
        if service.select == "connection" and service.mode != "tcp":
            say(
                here,
                f'service "{service.name}" has mode = "{service.mode}" and select = "connection", '
                "which chooses before anything is said; leave mode out",
            )
        if service.mode == "http":
            continue
        reads = "reads nothing" if service.mode == "tcp" else "reads a ClientHello and no more"
        for what in _contradictions(config, service):
            say(
                here,
                f'service "{service.name}" has mode = "{service.mode}", which {reads}, and {what}; '
                'say mode = "http", or leave one of them out',
            )


def check_flows(config: Config, say: _Say) -> None:
    """A sentence for every key that means nothing where there are no connections, or no flows."""
    for position, service in enumerate(config.service):
        here = ("service", position)
        _check_connection_ids(config, service, here, say)
        if service.protocol != "udp":
            if service.mode == "quic":
                say(
                    (*here, "mode"),
                    f'service "{service.name}" has mode = "quic" and protocol = "tcp", where '
                    'nobody speaks QUIC; say protocol = "udp"',
                )
            if service.idle_s is not None:
                say(
                    (*here, "idle_s"),
                    f'service "{service.name}" has idle_s, which is for protocol = "udp"; the time '
                    "of connections is farm.idle_s",
                )
            continue
        for key in _of_connections(config, service):
            say(
                (*here, key),
                f'service "{service.name}" has protocol = "udp" and {key}, which needs a '
                "connection; leave it out",
            )
        for number, route in _routes(config, service):
            if service.mode == "quic" and route.path != "/":
                say(
                    ("route", number, "path"),
                    f'service "{service.name}" has mode = "quic", which reads a ClientHello and no '
                    "more; its route may have a host and alpn, and no path",
                )
            elif service.mode != "quic" and not route.takes_all:
                say(
                    ("route", number),
                    f'service "{service.name}" has protocol = "udp", and datagrams have no host or '
                    "path to look at; its route may have neither",
                )
        if service.application is not None and service.application.box:
            say(
                (*here, "application"),
                f'service "{service.name}" has protocol = "udp" and an application in a container, '
                "where only connections of TCP can be given; let it listen on the server itself",
            )
        if service.application is not None and service.application.ip.is_loopback:
            say(
                (*here, "application"),
                f'service "{service.name}" has protocol = "udp" and an application on '
                f"{service.application.ip}, from where no answer can leave; let it listen on "
                "0.0.0.0 or on an address of the server",
            )


def _check_connection_ids(
    config: Config, service: Service, here: tuple[str, int], say: _Say
) -> None:
    wanted, key = service.connection_id, (*here, "connection_id")
    if wanted is None:
        return
    if service.mode != "quic":
        say(
            key,
            f'service "{service.name}" has connection_id, which only QUIC has; say mode = "quic", '
            "or leave it out",
        )
    for first, second in wanted.shared(config.farm.members):
        say(
            key,
            f'service "{service.name}" gives the servers {first} and {second} one number in '
            "connection IDs; let server_id_bytes be more",
        )


def _of_connections(config: Config, service: Service) -> Iterator[str]:
    """Keys of a UDP service that only TCP has a use for."""
    if service.select == "connection":
        yield "select"
    if service.decide == "request":
        yield "decide"
    if service.mode not in ("auto", "quic"):
        yield "mode"
    if _session_asks(service):
        yield "session"
    if service.check is not None:
        yield "check"
    if service.access_log:
        yield "access_log"


def _contradictions(config: Config, service: Service) -> Iterator[str]:
    if service.decide == "request":
        yield 'decide = "request"'
    if service.session is not None and _session_asks(service):
        yield f'a session of kind = "{service.session.kind}"'
    for position, route in _routes(config, service):
        if route.path != "/":
            yield f'route {position + 1} with path = "{route.path}"'
        elif route.alpn is None and not route.takes_all and service.mode == "tcp":
            yield f'route {position + 1} with host = "{route.host}"'


def _session_asks(service: Service) -> bool:
    return service.session is not None and service.session.kind in _BY_COOKIE_OR_NAME


def _routes(config: Config, service: Service) -> Iterator[tuple[int, Route]]:
    for position, route in enumerate(config.route):
        if route.service == service.name:
            yield position, route
