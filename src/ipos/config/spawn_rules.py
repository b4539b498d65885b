# SPDX-License-Identifier: Apache-2.0
"""What contradicts `[[spawn]]` in the rest of a file."""

from collections.abc import Callable

from ipos.abi.layout import constant
from ipos.config import locate
from ipos.config.schema import Config

_Say = Callable[[locate.Path, str], None]


def check_spawns(config: Config, say: _Say) -> None:
    """A sentence for every contradiction."""
    taken = {service.port: f'service "{service.name}"' for service in config.service}
    taken |= {service.listener.port: f'service "{service.name}"' for service in config.service}
    names: set[str] = set()
    total = len(config.service)
    most = constant("IPOS_SERVICES_MAX")
    for position, spawn in enumerate(config.spawn):
        here, whose = ("spawn", position), f'spawn "{spawn.name}"'
        if spawn.name in names:
            say((*here, "name"), f'a second spawn is called "{spawn.name}"; give each its own name')
        names.add(spawn.name)
        ports = spawn.numbers
        if not ports or not 0 < ports[0] <= ports[-1] < 65536:
            say(
                (*here, "ports"),
                f'{whose} has ports = "{spawn.ports}"; say the first and the last of 1 to 65535',
            )
            continue
        total += len(ports)
        if total > most:
            say(
                (*here, "ports"),
                f"{whose} has {len(ports)} ports, and with the services there are {total}; a farm "
                f"has at most {most} of both",
            )
            continue
        both = next((port for port in ports if port in taken), None)
        if both is not None:
            say(
                (*here, "ports"),
                f"{whose} has port {both}, and so has {taken[both]}; give each its own ports",
            )
        taken |= dict.fromkeys(ports, whose)
        for pattern in spawn.args:
            if pattern.count("*") > 2:
                say(
                    (*here, "args"),
                    f'{whose} has the pattern "{pattern}"; one has at most two asterisks',
                )
    if config.spawn and config.farm.own_programs != "farm":
        say(
            ("spawn", 0),
            f"[[spawn]] is for programs on the servers, and farm.own_programs is "
            f'"{config.farm.own_programs}", which leads them to no other server; say "farm"',
        )
