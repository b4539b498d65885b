# SPDX-License-Identifier: Apache-2.0
"""What the checks need of a configuration file, read leniently and not through the schema.

A host is examined before its configuration is right.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipos.config.agent_section import Agent
from ipos.config.listener import BOX_PATTERN
from ipos.config.schema import INTERFACE_PATTERN
from ipos.errors import IposError
from ipos.files import read_bounded


@dataclass(frozen=True, slots=True)
class Place:
    """Where the application of a service should listen. address: empty for any."""

    service: str
    port: int
    address: str = ""


@dataclass(frozen=True, slots=True)
class Site:
    """Interfaces, ports and members of a file, as far as it holds any.

    ports and places are of TCP services. missing: there is no such file. tagged: interfaces on
    which the farm is in a VLAN. announcer: the command that makes routers be told of addresses,
    where they are.
    """

    front: str = "front"
    back: str = "back"
    ports: tuple[int, ...] = ()
    addresses: tuple[str, ...] = ()
    tagged: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    file: str = ""
    missing: bool = False
    announcer: tuple[str, ...] = ()
    udp_ports: tuple[int, ...] = ()
    boxed: tuple[str, ...] = ()
    """Services whose application is in a container by their configuration."""
    notrack: str = "auto"


def read_site(config: Path) -> Site:
    try:
        raw = tomllib.loads(read_bounded(config).decode())
    except FileNotFoundError:
        return Site(file=str(config), missing=True)
    except (OSError, ValueError, RecursionError, IposError):
        return Site(file=str(config))
    farm, server = _table(raw.get("farm")), _table(raw.get("server"))
    every = [_table(each) for each in _list(raw.get("service"))]
    services = [each for each in every if each.get("protocol") != "udp"]
    udp = [each["port"] for each in every if each not in services and _is_port(each.get("port"))]
    places = tuple(filter(None, map(_place, services)))
    front = _interface(server.get("front"), Site().front)
    back = _interface(server.get("back"), front)
    vlans = ((front, "front_vlan"), (back, "back_vlan"))
    return Site(
        front,
        back,
        tuple(each["port"] for each in services if _is_port(each.get("port"))),
        tuple(map(str, _list(server.get("addresses")))),
        tuple(name for name, key in vlans if server.get(key)),
        tuple(map(str, _list(farm.get("members")))),
        places,
        str(config),
        announcer=_announcer(farm, _table(raw.get("agent"))),
        udp_ports=tuple(udp),
        boxed=tuple(str(each.get("name")) for each in services if _is_boxed(each)),
        notrack=str(server.get("notrack", Site().notrack)),
    )


def _announcer(farm: dict[str, Any], agent: dict[str, Any]) -> tuple[str, ...]:
    if farm.get("announce") != "bgp":
        return ()
    said = _list(agent.get("announce_command")) or Agent().announcer
    return tuple(map(str, said))


def _is_boxed(service: dict[str, Any]) -> bool:
    said = service.get("application")
    return isinstance(said, str) and re.fullmatch(BOX_PATTERN, said) is not None


def _place(service: dict[str, Any]) -> Place | None:
    name, port = service.get("name"), service.get("port")
    if not isinstance(name, str) or not isinstance(port, int) or not _is_port(port):
        return None
    said = service.get("application")
    box = re.fullmatch(BOX_PATTERN, said) if isinstance(said, str) else None
    if box is not None:
        return Place(name, int(box["port"] or port))
    found = re.fullmatch(r"([\d.]+):(\d{1,5})", said) if isinstance(said, str) else None
    if found is None:
        return Place(name, port)
    return Place(name, int(found[2]), "" if found[1] == "0.0.0.0" else found[1])


def _is_port(value: Any) -> bool:
    return type(value) is int and 0 < value < 65536


def _interface(said: Any, default: str) -> str:
    """The name of an interface, where it could be one."""
    return said if isinstance(said, str) and re.match(INTERFACE_PATTERN, said) else default


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
