# SPDX-License-Identifier: Apache-2.0
"""The file by which routers learn of a server's addresses: static routes for BIRD 2. Pure.

BIRD's own configuration includes it and announces the routes of this protocol to routers. Their
target does not matter, because BIRD announces itself as the next hop.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address

PROTOCOL = "ipos"
"""What the protocol is called in BIRD."""


def text(server: str, addresses: Iterable[int]) -> str:
    """All of the file, for addresses in any order; without any the protocol has no route."""
    routes = [f"    route {IPv4Address(one)}/32 unreachable;" for one in sorted(addresses)]
    lines = [
        f"# What the server {server} announces to routers. Its ipOS agent writes this file.",
        f"protocol static {PROTOCOL} {{",
        "    ipv4;",
        *routes,
        "}",
    ]
    return "\n".join(lines) + "\n"
