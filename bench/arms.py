# SPDX-License-Identifier: Apache-2.0
"""What is compared: two servers' nginx reached through the farm, directly, and through HAProxy.

Either both answer: the client connects to both addresses in turn, the farm gives each connection to
the less loaded one, and HAProxy in the first server does the same for the connections it gets. Or
one of them answers everything, and all that comes to the farm is migrated to it: the dearest case.

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

from ipos.abi.rows import ServerState
from ipos.errors import IposError
from ipos.kernel.maps import Tables
from ipos.lab import cgroups
from ipos.lab.lab import Lab
from ipos.lab.plan import SWITCH_XDP, Settings

PROXY_PORT = 8080
_READY_TIMEOUT_S = 10.0

FIRST, OWNER = "s1", "s2"
"""Where all is migrated, the client connects to the first one's address and the owner answers."""

# Sized for what comes, as docs/operations.md advises: what is looked up stays in the caches.
_LIMITS = """\
[farm.limits]
forward = 16384
local = 16384
connect = 16384
"""

_SERVICE = """\
[[service]]
name = "web"
port = 80
"""

_ONE_OWNER = f"""\
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
    balance leastconn
"""


@dataclass(frozen=True, slots=True)
class Arm:
    """One of the things compared. addresses: each IP or IP:port, to which the client connects."""

    name: str
    lab: Lab
    addresses: tuple[str, ...]
    prepare: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Wires:
    """What labs are built with, see ipos.lab: their switch; TCP's congestion control, or theirs."""

    switch: str = SWITCH_XDP
    congestion_control: str | None = None


@contextmanager
def arms(with_proxy: bool, migrated: bool, wires: Wires) -> Iterator[list[Arm]]:
    """The arms while the block lasts: direct, ipos, and haproxy if it is wanted and installed.

    migrated: one server answers all, and not the one that is asked; see the module.
    wires: what both labs are built with.
    """
    # A fresh name for every run: two benchmarks may be up at once.
    name = f"bench-{secrets.token_hex(3)}"
    config = _LIMITS + _SERVICE + (_ONE_OWNER if migrated else "")
    answering = (OWNER,) if migrated else (FIRST, OWNER)
    asked = (FIRST,) if migrated else (FIRST, OWNER)
    with ExitStack() as stack:
        bare = stack.enter_context(
            Lab(Settings(name=f"{name}-bare", servers=2, bare=True, switch=wires.switch))
        )
        farm = stack.enter_context(
            Lab(Settings(name=name, servers=2, config=config, switch=wires.switch))
        )
        for lab in (bare, farm):
            _set_congestion_control(lab, wires.congestion_control)
        found = [
            Arm("direct", bare, tuple(map(bare.front, answering)), lambda: _freeze(farm)),
            Arm("ipos", farm, tuple(map(farm.front, asked)), lambda: thaw(farm)),
        ]
        if with_proxy and shutil.which("haproxy"):
            _start_proxy(bare, answering)
            proxied = f"{bare.front(FIRST)}:{PROXY_PORT}"
            found.append(Arm("haproxy", bare, (proxied,), lambda: _freeze(farm)))
        # A frozen cgroup is slow to end.
        stack.callback(thaw, farm)
        yield found


def _set_congestion_control(lab: Lab, name: str | None) -> None:
    for node in lab.nodes if name else ():
        setting = f"net.ipv4.tcp_congestion_control={name}"
        if lab.run(node, ["sysctl", "-qw", setting], capture_output=True).returncode != 0:
            raise IposError(
                f"{node} of lab {lab.name} may not use {name}; "
                "see net.ipv4.tcp_allowed_congestion_control of this machine"
            )


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


def _start_proxy(bare: Lab, answering: tuple[str, ...]) -> None:
    """HAProxy in the first server, in front of those that answer; it accepts on return."""
    place = bare.place(FIRST)
    file = place.run_dir / "haproxy.cfg"
    head = _PROXY_CONFIGURATION.format(
        threads=os.cpu_count() or 1, address=bare.front(FIRST), port=PROXY_PORT
    )
    servers = "".join(f"    server {name} {bare.front(name)}:80\n" for name in answering)
    file.write_text(head + servers)
    # -D forks only once everything is bound.
    done = place.run(
        ["haproxy", "-q", "-D", "-f", str(file), "-p", str(place.run_dir / "haproxy.pid")],
        cgroup=place.app_cgroup,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise IposError(f"HAProxy did not start: {done.stderr.strip()}")
