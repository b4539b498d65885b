# SPDX-License-Identifier: Apache-2.0
"""A configuration by which the host of a request says who is to answer it."""

from collections.abc import Iterable


def by_host(servers: Iterable[str]) -> str:
    """Pools and routes of the service `web`: s1.example is s1's, and so on."""
    return "".join(
        f"""
[[pool]]
name = "only-{server}"
servers = {{ {server} = 1 }}

[[route]]
service = "web"
host = "{server}.example"
pool = "only-{server}"
"""
        for server in servers
    )
