# SPDX-License-Identifier: Apache-2.0
"""Faults as they happen on a real site, caused in a lab: lossy links, power cuts, dead
applications.

Wires are cut and made lossy in the switch, where neither end can tell that it was done on purpose
and no packet has yet been seen by XDP.
"""

import secrets
from collections.abc import Collection, Iterable
from pathlib import Path

from ipos.lab import cgroups, namespaces
from ipos.lab.errors import LabError
from ipos.lab.lab import Lab
from ipos.lab.nftables import load
from ipos.lab.places import Place
from ipos.lab.plan import ROUTER, SWITCH, SWITCH_XDP, Interface, Node, crossover

_TABLE = "ipos_faults"
_HASH_SEED = Path("/proc/sys/net/ipv4/fib_multipath_hash_seed")
_SCALE = 100_000
"""Loss is counted in parts of this."""
_LEARNED = ("reachable", "stale", "delay", "probe")


BOTH, FROM_NODE, TO_NODE = ("from", "to"), ("from",), ("to",)
"""Directions of a link that lose frames."""


def set_loss(
    lab: Lab,
    percent: float,
    links: Iterable[tuple[str, str]] | None = None,
    directions: Collection[str] = BOTH,
) -> None:
    """Lose this share of the frames on each link, in these directions; 0 ends it.

    links: (node, interface) pairs; all of the lab's for None. It replaces any loss set before.
    """
    if not 0 <= percent <= 100:
        raise LabError(f"a link loses 0 to 100 percent, not {percent}")
    if lab.settings.switch == SWITCH_XDP:
        raise LabError(
            f"lab {lab.name} forwards in XDP, past the rules that lose frames; "
            "build it with --switch bridge"
        )
    wanted = _every_link(lab) if links is None else [_link(lab, *link) for link in links]
    # A table that is named, deleted and made again in one transaction: no moment between.
    lines = [f"table bridge {_TABLE}", f"delete table bridge {_TABLE}"]
    if percent > 0:
        ports = ", ".join(f'"{node.port(interface)}"' for node, interface in wanted)
        # From the upper end, because nft refuses to compare with a number it can never reach.
        kept = min(_SCALE - round(percent * _SCALE / 100), _SCALE - 1)
        drop = f"numgen random mod {_SCALE} >= {kept} counter drop"
        lines += [f"table bridge {_TABLE} {{"]
        if "from" in directions:
            lines += [
                "    chain from_node {",
                "        type filter hook prerouting priority -300",
                f"        iifname {{ {ports} }} {drop}",
                "    }",
            ]
        if "to" in directions:
            lines += [
                "    chain to_node {",
                "        type filter hook postrouting priority 300",
                f"        oifname {{ {ports} }} {drop}",
                "    }",
            ]
        lines += ["}"]
    load(Place(lab.name, SWITCH), "\n".join(lines) + "\n")


def cut_power(lab: Lab, node: str) -> None:
    """The node falls silent at once: its links lose carrier and its processes stop."""
    place = lab.place(node)
    _set_links(lab, node, up=False)
    cgroups.freeze(place.cgroup)


def restore_power(lab: Lab, node: str) -> None:
    """The node comes back as if it had been stopped for a while, all its state still there."""
    cgroups.thaw(lab.place(node).cgroup)
    _set_links(lab, node, up=True)


def set_link(lab: Lab, node: str, interface: str, up: bool) -> None:
    """Pull one cable, or plug it in again. Both ends see it by the carrier."""
    host, port = _link(lab, node, interface)
    _set_ports(lab, [host.port(port)], up)


def rehash(lab: Lab) -> None:
    """The router sends flows to other servers than before, about two thirds of them where there are
    three servers: its hash gets another seed.

    LabError where the kernel has none (before Linux 6.11), or no router chooses.
    """
    if not lab.is_ecmp:
        raise LabError(
            f"the router of lab {lab.name} has one way to each server and hashes nothing; "
            "build the lab with --topology ecmp"
        )
    with namespaces.entered(lab.place(ROUTER).namespace):
        try:
            before = int(_HASH_SEED.read_text())
            _HASH_SEED.write_text(f"{_another(before)}\n")
        except FileNotFoundError:
            raise LabError(
                f"this kernel has no {_HASH_SEED}, which came with Linux 6.11, so its hash cannot "
                "be changed"
            ) from None


def _another(before: int) -> int:
    """Of a seed's 32 bits. 0 is the kernel's own."""
    while (seed := secrets.randbelow(2**32 - 1) + 1) == before:
        pass
    return seed


def flush_neighbours(lab: Lab) -> None:
    """Every node forgets the MAC addresses it has learned.

    Not those it is just asking for: to forget one of these is to give its waiting packets up, and
    the kernel then tells their sender that the host is unreachable. Under load some are learned
    again while others are forgotten; `ip` gives up after ten rounds of that, and says nothing:
    each was forgotten, which is all that is asked.
    """
    learned = [word for state in _LEARNED for word in ("nud", state)]
    for node in lab.nodes:
        done = lab.run(node, ["ip", "neigh", "flush", *learned], capture_output=True, text=True)
        if done.returncode != 0 and done.stderr:
            raise LabError(f"cannot flush the neighbours of {node}: {done.stderr.strip()}")


def kill_applications(lab: Lab, server: str) -> None:
    """The applications of a server die at once, as by a crash."""
    cgroups.kill(_existing(lab.place(server).app_cgroup))


def stop_applications(lab: Lab, server: str) -> None:
    """The applications hang: they keep their sockets and neither accept nor answer."""
    cgroups.freeze(_existing(lab.place(server).app_cgroup))


def continue_applications(lab: Lab, server: str) -> None:
    """The applications go on after `stop_applications`."""
    cgroups.thaw(_existing(lab.place(server).app_cgroup))


def restart_applications(lab: Lab, server: str) -> None:
    """The applications end as by SIGTERM and are started again; they accept on return."""
    cgroups.end(lab.place(server).app_cgroup)
    lab.start_applications(server)


def share_cpu(lab: Lab, node: str, weight: int = 100) -> None:
    """What runs in a node now, and what that starts, gets this weight of CPUs that are short."""
    cgroups.share(_existing(lab.place(node).cgroup), weight)


def leave_memory(lab: Lab, server: str, left: int | None) -> None:
    """The limit of the applications' cgroup leaves them so many bytes more than they use; None
    takes the limit away."""
    cgroups.leave_memory(_existing(lab.place(server).app_cgroup), left)


def kill_agent(lab: Lab, server: str) -> None:
    """The agent of a server dies at once; what it has loaded stays. See `Lab.start_agent`."""
    cgroups.kill(_existing(lab.place(server).agent_cgroup))


def stop_agent(lab: Lab, server: str) -> None:
    """The agent of a server hangs; what it has loaded goes on by what it said last."""
    cgroups.freeze(_existing(lab.place(server).agent_cgroup))


def continue_agent(lab: Lab, server: str) -> None:
    """The agent goes on after `stop_agent`."""
    cgroups.thaw(_existing(lab.place(server).agent_cgroup))


def _existing(cgroup: Path) -> Path:
    if not cgroup.exists():
        raise LabError(f"nothing was ever started in {cgroup}")
    return cgroup


def _every_link(lab: Lab) -> list[tuple[Node, Interface]]:
    return [(node, each) for node in lab.nodes.values() for each in node.interfaces]


def _link(lab: Lab, node: str, interface: str) -> tuple[Node, Interface]:
    lab.place(node)  # says so if there is no such node
    host = lab.nodes[node]
    try:
        return host, host.interface(interface)
    except KeyError:
        there = ", ".join(each.name for each in host.interfaces)
        raise LabError(f"{node} has no interface {interface!r}; it has {there}") from None


def _set_links(lab: Lab, node: str, up: bool) -> None:
    host = lab.nodes[node]
    _set_ports(lab, [host.port(interface) for interface in host.interfaces], up)


def _set_ports(lab: Lab, ports: Collection[str], up: bool) -> None:
    from pyroute2 import IPRoute

    cable = crossover(lab.nodes.values(), lab.settings.switch)
    if cable and {host.port(interface) for host, interface in cable} & set(ports):
        raise LabError(
            f"back of lab {lab.name} is a cable between two servers, which has no end that is "
            "neither's; build it with --switch bridge"
        )
    with namespaces.entered(namespaces.path_of(lab.name, SWITCH)), IPRoute() as netlink:
        for port in ports:
            index = netlink.link_lookup(ifname=port)[0]
            netlink.link("set", index=index, state="up" if up else "down")
