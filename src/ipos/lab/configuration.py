# SPDX-License-Identifier: Apache-2.0
"""Writes the configuration file of each server: the common parts are the user's, `[farm]` and
`[server]` the lab's.

The lab reads the common parts only as far as it needs them: which ports to open and to listen on.
The agent says whether they are right, as for a file written by hand.
"""

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipos.lab.errors import LabError
from ipos.lab.plan import (
    ANYCAST,
    BACK_LAN,
    FRONT_LAN,
    PREFIX_LENGTH,
    PREFIXES,
    ROUTER_HOST,
    SECOND_LAN,
    UPLINKS,
    Node,
)  # fmt: skip
from ipos.lab.second_family import address6

DEFAULT_COMMON = """\
[[service]]
name = "web"
port = 80

[[service]]
name = "greeting"
port = 25
select = "connection"
"""


@dataclass(frozen=True, slots=True)
class Service:
    """What the lab needs of a service. application: "address:port", by default any and its port."""

    port: int
    protocol: str
    select: str
    application: str


_OWN = {"name", "front", "back", "addresses"}
"""What of [server] differs from server to server."""


def parse_common(text: str | None) -> dict[str, Any]:
    """The common parts of a farm's configuration; the default ones for None.

    LabError if it is not TOML or has a part that only the lab can write.
    """
    try:
        common = tomllib.loads(DEFAULT_COMMON if text is None else text)
    except tomllib.TOMLDecodeError as error:
        raise LabError(f"the lab's configuration is not TOML: {error}") from error
    own = sorted(_OWN & common.get("server", {}).keys())
    if own:
        raise LabError(
            f"the lab's configuration has {own[0]} in [server], which the lab writes for each "
            "server; remove it"
        )
    return common


def services(common: Mapping[str, Any]) -> list[Service]:
    """The services of the common parts. LabError names a service that has no usable port."""
    found = []
    for position, entry in enumerate(common.get("service", []), start=1):
        port = entry.get("port")
        if not isinstance(port, int) or not 0 < port < 65536:
            raise LabError(
                f"service {entry.get('name', position)!r} of the lab's configuration has the port "
                f"{port!r}; it must be 1 to 65535"
            )
        found.append(
            Service(
                port,
                entry.get("protocol", "tcp"),
                entry.get("select", "request"),
                entry.get("application", f"0.0.0.0:{port}"),
            )
        )
    return found


def spawn_ports(common: Mapping[str, Any]) -> list[int]:
    """The ports of programs that may be spawned, as far as they are right."""
    found: list[int] = []
    for entry in common.get("spawn", []):
        first, _, last = str(entry.get("ports", "")).partition("-")
        if first.isdecimal() and last.isdecimal() and int(last) < 65536:
            found += range(int(first), int(last) + 1)
    return found


def server_file(
    common: Mapping[str, Any],
    lab: str,
    server: Node,
    servers: Iterable[Node],
    secret_file: Path,
    bird: Path | None = None,
    *,
    ipv6: bool = False,
) -> str:
    """The text of one server's file: what a user would have written by hand.

    bird: the control socket of its BIRD, where routers are told of addresses.
    """
    single = len(server.interfaces) == 1
    farm = dict(common.get("farm", {}))
    farm |= {
        "name": lab,
        "secret_file": str(secret_file),
        "members": [each.address(BACK_LAN) for each in servers],
    }
    farm.setdefault("authenticate", True)
    own = dict(common.get("server", {})) | {
        "name": server.name,
        "front": "front",
        "back": "front" if single else "back",
        "addresses": [server.address(FRONT_LAN)],
    }
    if ipv6:
        own["addresses"].append(address6(server, FRONT_LAN))
    rest = {key: value for key, value in common.items() if key not in ("farm", "server")}
    if any(one.lan == SECOND_LAN for one in server.interfaces):
        names = _uplinks_of(server, farm.get("return", "source"))
        own["front"] = UPLINKS[names[0]]
        own["addresses"] = [server.address(UPLINKS[name]) for name in names]
        rest["uplink"] = [_uplink(name, here=name in names) for name in UPLINKS]
    if bird is not None:
        farm["announce"] = "bgp"
        own["addresses"] = [*own["addresses"], ANYCAST]
        command = ["birdc", "-s", str(bird), "configure"]
        rest["agent"] = {"announce_command": command} | rest.get("agent", {})
    return to_toml({"farm": farm, "server": own, **rest})


def unused(common: Mapping[str, Any], server: Node) -> list[str]:
    """Front interfaces that a server's file does not name: on these its kernel would answer ARP."""
    lans = {one.lan: one.name for one in server.interfaces}
    if SECOND_LAN not in lans:
        return []
    names = _uplinks_of(server, common.get("farm", {}).get("return", "source"))
    return [lans[lan] for name, lan in UPLINKS.items() if name not in names]


def _uplinks_of(server: Node, return_: str) -> list[str]:
    """Which uplinks a server is on: all; where it answers by its own router, each second one."""
    names = list(UPLINKS)
    if return_ == "owner":
        return [names[(int(server.name[1:]) - 1) % len(names)]]
    return names


def _uplink(name: str, *, here: bool) -> dict[str, Any]:
    lan = UPLINKS[name]
    found = {
        "name": name,
        "prefix": f"{PREFIXES[lan]}0/{PREFIX_LENGTH}",
        "gateway": f"{PREFIXES[lan]}{ROUTER_HOST}",
    }
    return found | {"interface": lan} if here else found


def to_toml(document: Mapping[str, Any]) -> str:
    """A TOML document. Values: strings, numbers, booleans, lists, and tables as mappings.

    Tables at the top become [tables] and lists of tables [[tables]]; deeper ones are inline.
    """
    lines: list[str] = []
    plain = {key: value for key, value in document.items() if not _is_table(value)}
    lines += [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in document.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{_key(key)}]", *_pairs(value)]
        elif _is_table(value):
            for entry in value:
                lines += ["", f"[[{_key(key)}]]", *_pairs(entry)]
    return "\n".join(lines).lstrip("\n") + "\n"


def _is_table(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(entry, Mapping) for entry in value)
    return isinstance(value, Mapping)


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in table.items()]


def _key(key: str) -> str:
    bare = key.replace("-", "").replace("_", "")
    return key if bare.isascii() and bare.isalnum() else _string(key)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but TOML wants DEL escaped too.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list):
        return "[" + ", ".join(_value(entry) for entry in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_pairs(value)) + " }" if value else "{}"
    return str(value)
