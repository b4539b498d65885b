# SPDX-License-Identifier: Apache-2.0
"""What contradicts `start` of a service, or is not done for one that has it."""

from collections.abc import Callable, Iterator

from ipos.config import locate
from ipos.config.schema import Config, Service

_Say = Callable[[locate.Path, str], None]


def check_starts(config: Config, say: _Say) -> None:
    """A sentence for every contradiction."""
    for position, service in enumerate(config.service):
        if service.start is not None:
            for key, text in (*_how(service), *_not_yet(config, service)):
                here = ("service", position, "start")
                say((*here, key) if key else here, f'service "{service.name}" {text}')


def _how(service: Service) -> Iterator[tuple[str, str]]:
    start = service.start
    assert start is not None
    if (start.command is None) is (start.unit is None):
        why = (
            "has start, which needs either a command or a unit: say one of them, as "
            'start = { command = ["/usr/sbin/shop"] }'
        )
        yield "", why
    if start.unit is not None and start.memory is not None:
        why = (
            "has start.memory, which limits a command; a unit has MemoryMax= of its own, so leave "
            "start.memory out"
        )
        yield "memory", why


def _not_yet(config: Config, service: Service) -> Iterator[tuple[str, str]]:
    """What is refused, because half of it would start the wrong thing or make clients wait."""
    if service.protocol != "tcp" or service.select != "request":
        why = (
            "has start and chooses before there is a request that could wait; start needs "
            'protocol = "tcp" and select = "request"'
        )
        yield "", why
    if any(route.service == service.name for route in config.route):
        yield "", "has start and a route; any server may start it, so one of them must go"
    if service.listener.box:
        why = (
            f"has start and its application in {service.listener.box}; the farm starts no "
            "container, so one of them must go"
        )
        yield "", why
    others = (one for one in config.service if one.start is not None)
    same = [one.name for one in others if one.listener.port == service.listener.port]
    if same[0] != service.name:
        why = (
            f'has start, and so has service "{same[0]}" with the same port of its application; '
            "one application is started for one service"
        )
        yield "", why
