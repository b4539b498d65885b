# SPDX-License-Identifier: Apache-2.0
"""What is compared: one nginx reached through the farm, directly, and through HAProxy.

The switches of all arms forward in XDP unless told otherwise: on a real site they are no part of
the servers' CPUs, which are measured here, and servers take frames from a NIC's driver.

While an arm without ipOS is measured, the farm's agents are frozen: its data plane sees nothing
then, and what the agents cost is no part of a machine without ipOS.
"""

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ipos.errors import IposError
from ipos.inic.maps import Tables
from ipos.inic.rows import ServerState
from ipos.lab import cgroups
from ipos.lab.lab import Lab
from ipos.lab.plan import SWITCH_XDP, Settings

PROXY_PORT = 8080
_READY_TIMEOUT_S = 10.0

FIRST, OWNER = "s1", "s2"
"""The client connects to the first one's address; the owner's nginx answers, in every arm."""

# One application for all arms: three would share this machine's cores, and what is compared here is
# the way to it. Everything migrates, which is the dearer case.
ONE_OWNER = f"""\
[[service]]
name = "web"
port = 80

[[pool]]
name = "owner"
servers = {{ {OWNER} = 1 }}

[[route]]
service = "web"
pool = "owner"
"""

_PROXY_CONFIGURATION = """\
global
    maxconn 4096
    nbthread {threads}
defaults
    mode http
    option splice-auto
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen farm
    bind {address}:{port}
    server {owner} {target}:80
"""


@dataclass(frozen=True, slots=True)
class Arm:
    """One of the things compared. address: IP or IP:port that the client connects to."""

    name: str
    lab: Lab
    address: str
    prepare: Callable[[], None]


@contextmanager
def arms(with_proxy: bool, switch: str = SWITCH_XDP) -> Iterator[list[Arm]]:
    """The arms while the block lasts: direct, ipos, and haproxy if it is wanted and installed.

    switch: what both labs are built with, see ipos.lab.plan.Settings.
    """
    # A fresh name for every run: two benchmarks may be up at once.
    name = f"bench-{secrets.token_hex(3)}"
    with ExitStack() as stack:
        bare = stack.enter_context(
            Lab(Settings(name=f"{name}-bare", servers=2, bare=True, switch=switch))
        )
        farm = stack.enter_context(
            Lab(Settings(name=name, servers=2, config=ONE_OWNER, switch=switch))
        )
        found = [
            Arm("direct", bare, bare.front(OWNER), lambda: _freeze(farm)),
            Arm("ipos", farm, farm.front(FIRST), lambda: thaw(farm)),
        ]
        if with_proxy and shutil.which("haproxy"):
            _start_proxy(bare)
            proxied = f"{bare.front(FIRST)}:{PROXY_PORT}"
            found.append(Arm("haproxy", bare, proxied, lambda: _freeze(farm)))
        # A frozen cgroup is slow to end.
        stack.callback(thaw, farm)
        yield found


def _freeze(farm: Lab) -> None:
    for place in farm.places():
        cgroups.freeze(place.agent_cgroup)


def thaw(farm: Lab) -> None:
    """Let the agents go on, and wait until every server is known to be ready everywhere."""
    for place in farm.places():
        cgroups.thaw(place.agent_cgroup)
    deadline = time.monotonic() + _READY_TIMEOUT_S
    for place in farm.places():
        servers = Tables(place.maps_dir).servers
        while True:
            rows = [row for _, row in servers.items() if row.state is not ServerState.NONE]
            ready = [row for row in rows if row.state is ServerState.READY and not row.stale]
            if len(ready) == len(farm.servers):
                break
            if time.monotonic() > deadline:
                raise IposError(
                    f"{place.node} of lab {farm.name} knows {len(ready)} of {len(farm.servers)} "
                    f"servers to be ready after {_READY_TIMEOUT_S:.0f} s"
                )
            time.sleep(0.02)  # a map tells nobody that it has changed


def _start_proxy(bare: Lab) -> None:
    """HAProxy in the first server, in front of the owner; it accepts on return."""
    place = bare.place(FIRST)
    file = place.run_dir / "haproxy.cfg"
    file.write_text(
        _PROXY_CONFIGURATION.format(
            threads=os.cpu_count() or 1,
            address=bare.front(FIRST),
            port=PROXY_PORT,
            owner=OWNER,
            target=bare.front(OWNER),
        )
    )
    # -D forks only once everything is bound.
    done = place.run(
        ["haproxy", "-q", "-D", "-f", str(file), "-p", str(place.run_dir / "haproxy.pid")],
        cgroup=place.app_cgroup,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise IposError(f"HAProxy did not start: {done.stderr.strip()}")
