# SPDX-License-Identifier: Apache-2.0
"""The services by which spawned programs are reached: one for each port of `[[spawn]]`.

They are made from a configuration that is right, and no file can name them: their names have a
colon, such as `worker:20003`.
"""

import msgspec

from ipos.config.schema import Config, Service
from ipos.config.spawning import Spawn
from ipos.config.starting import Start

MARK = ":"


class Slot(Service, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A service that one spawned program may have. A SYN is all that is seen of its connections."""

    spawn: Spawn


def is_slot(service: str) -> bool:
    """Whether a service of this name is one of them."""
    return MARK in service


def with_slots(config: Config) -> Config:
    """The configuration with these services behind its own."""
    slots = [_slot(spawn, port) for spawn in config.spawn for port in spawn.numbers]
    return msgspec.structs.replace(config, service=[*config.service, *slots])


def _slot(spawn: Spawn, port: int) -> Slot:
    command = [one.replace("{port}", str(port)) for one in spawn.command]
    start = Start(
        command=command,
        idle_stop_s=spawn.idle_stop_s,
        start_timeout_s=spawn.start_timeout_s,
        memory=spawn.memory,
    )
    name = f"{spawn.name}{MARK}{port}"
    return Slot(name=name, port=port, select="connection", start=start, spawn=spawn)
