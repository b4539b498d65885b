# SPDX-License-Identifier: Apache-2.0
"""What this machine suggests for a first configuration: its name, and which interface is which."""

import json
import re
import socket
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from ipos.errors import IposError

_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Empty where the machine suggests nothing."""

    server: str = ""
    front: str = ""
    back: str = ""


def suggest() -> Suggestion:
    """A look at this machine; nothing of it is needed."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname().partition(".")[0])[:32]
    front, back = interfaces(_ip("-4", "route", "show", "default"), _ip("-4", "address", "show"))
    return Suggestion(name, front, back)


def expect_interfaces(*names: str) -> None:
    """IposError names those there are, where this machine does not have one of them."""
    there = [name for _, name in socket.if_nameindex()]
    for name in names:
        if name not in there:
            raise IposError(f"there is no interface {name} here; there are {', '.join(there)}")


def some_interfaces() -> str:
    """Names of interfaces that a person may choose from, as many as fit into a question."""
    return ", ".join([name for _, name in socket.if_nameindex() if name != "lo"][:_SHOWN])


def interfaces(routes: Any, links: Any) -> tuple[str, str]:
    """Front and back from what `ip -json` says of default routes and addresses.

    Front has the default route. Back is another interface with a private address, front itself
    where there is none.
    """
    front = next((route["dev"] for route in routes if "dev" in route), "")
    private = [
        link["ifname"]
        for link in links
        for one in link.get("addr_info", ())
        if IPv4Address(one["local"]).is_private and not IPv4Address(one["local"]).is_loopback
    ]
    back = next((name for name in private if name != front), front)
    return front, back


def _ip(*words: str) -> Any:
    try:
        done = subprocess.run(["ip", "-json", *words], capture_output=True, timeout=10, check=True)
        return json.loads(done.stdout or b"[]")
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
