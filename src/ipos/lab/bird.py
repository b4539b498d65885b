# SPDX-License-Identifier: Apache-2.0
"""BIRD in the router and the servers of a lab with the topology `ecmp`.

Each server's BIRD announces what its agent writes into a file; the router's takes all routes to
one address into its kernel, which sends each flow to one of the servers. A BIRD runs in its node's
network namespace and cgroup, so it ends with the lab, and freezes when the node's power is cut.
"""

import json
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from ipos.lab import cgroups, namespaces
from ipos.lab.errors import LabError
from ipos.lab.places import Place, tail_of
from ipos.lab.plan import ANYCAST, FRONT_LAN, Node

START_TIMEOUT_S = 10.0
ROUTES_TIMEOUT_S = 30.0
PORT = 179
_ROUTER_AS, _SERVER_AS = 65000, 65001
_SYSCTLS = {
    # Addresses, protocol and ports, of the packet itself. Policy 1 takes the hash that a client's
    # socket has left on its packet, which crosses a veth: the router's own seed would not matter.
    "fib_multipath_hash_fields": "55",
    "fib_multipath_hash_policy": "3",
}
_TIMES = (
    "hold time 3; keepalive time 1; connect delay time 1; connect retry time 1; "
    "error wait time 1, 2;"
)
"""A server that falls silent has no routes three seconds later: no less is allowed by RFC 4271."""


def socket_of(place: Place) -> Path:
    """Where `birdc -s` reaches a node's BIRD."""
    return place.run_dir / "bird.ctl"


def log_of(place: Place) -> Path:
    return place.run_dir / "bird.log"


def server_text(server: Node, router: Node, routes: Path) -> str:
    """BIRD's configuration in a server. routes: the file that the agent writes, or will."""
    own, hop = server.address(FRONT_LAN), router.address(FRONT_LAN)
    # A pattern, because BIRD starts before there is a file: one that is named must be there.
    pattern = routes.with_name(f"[{routes.name[0]}]{routes.name[1:]}")
    return f"""\
log stderr all;
router id {own};
protocol device {{ }}
include "{pattern}";
protocol bgp {router.name} {{
    local {own} as {_SERVER_AS};
    neighbor {hop} as {_ROUTER_AS};
    {_TIMES}
    ipv4 {{ import none; export where proto = "ipos"; }};
}}
"""


def router_text(router: Node, servers: Iterable[Node]) -> str:
    """BIRD's configuration in the router: all servers, and several next hops for one address."""
    own = router.address(FRONT_LAN)
    sessions = "".join(
        f"""\
protocol bgp {server.name} {{
    local {own} as {_ROUTER_AS};
    neighbor {server.address(FRONT_LAN)} as {_SERVER_AS};
    {_TIMES}
    ipv4 {{ import where net ~ [ {ANYCAST}/32 ]; export none; }};
}}
"""
        for server in servers
    )
    return f"""\
log stderr all;
router id {own};
protocol device {{ }}
protocol kernel {{
    merge paths on;
    ipv4 {{ import none; export all; }};
}}
{sessions}"""


def start(places: Sequence[tuple[Place, str]]) -> None:
    """Start a BIRD in each place, with this text; all answer on return. LabError: one does not."""
    if shutil.which("bird") is None:
        raise LabError("the topology ecmp needs bird; run: apt install bird2")
    for place, text in places:
        file = place.run_dir / "bird-lab.conf"
        file.write_text(text)
        command = ["bird", "-f", "-c", str(file), "-s", str(socket_of(place))]
        place.spawn(command, place.cgroup / "bird", log_of(place))
    deadline = time.monotonic() + START_TIMEOUT_S
    for place, _ in places:
        while not _answers(place):
            if time.monotonic() > deadline or not cgroups.populated(place.cgroup / "bird"):
                raise LabError(f"bird in {place.node} did not start{tail_of(log_of(place))}")
            time.sleep(0.01)  # a socket that appears has no event


def _answers(place: Place) -> bool:
    """Whether it has read its configuration: it makes its socket before."""
    command = ["birdc", "-s", str(socket_of(place)), "show", "status"]
    return place.run(command, capture_output=True).returncode == 0


def hash_by_flow(router: Place) -> None:
    """Have the router's kernel choose among next hops by addresses and ports."""
    with namespaces.entered(router.namespace):
        for name, value in _SYSCTLS.items():
            Path("/proc/sys/net/ipv4", name).write_text(f"{value}\n")


def next_hops(router: Place) -> list[str]:
    """The servers' addresses to which the router sends what is for the anycast address."""
    command = ["ip", "-json", "route", "show", f"{ANYCAST}/32"]
    done = router.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"cannot read the routes of {router.node}: {done.stderr.strip()}")
    routes = json.loads(done.stdout or "[]")
    hops = [hop for route in routes for hop in route.get("nexthops", [route])]
    return sorted(hop["gateway"] for hop in hops if "gateway" in hop)


def wait_for_routes(router: Place, servers: Iterable[Node]) -> None:
    """Until the router sends to all of these servers. LabError names those that are missing."""
    wanted = {server.address(FRONT_LAN): server.name for server in servers}
    deadline = time.monotonic() + ROUTES_TIMEOUT_S
    while missing := wanted.keys() - set(next_hops(router)):
        if time.monotonic() > deadline:
            names = ", ".join(sorted(wanted[one] for one in missing))
            raise LabError(f"router1 has no route to {names}{tail_of(log_of(router))}")
        time.sleep(0.05)  # nor has a route
