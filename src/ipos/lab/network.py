# SPDX-License-Identifier: Apache-2.0
"""Builds the wires: bridges, veth pairs, addresses, routes, offloads and kernel settings.

The LANs are bridges in a namespace of their own, the switch; the host sees no interface at all, so
no name can collide with one of its own. A veth pair is made inside the switch with its other end
placed in the node right away.

Offloads, and why (see ipos.lab.offload):

- a client finishes its checksums and segments itself, because XDP forwards its packets;
- the switch finishes the checksums of whatever goes towards a server, because XDP reads them, and
has
  GRO on there: that gives the port NAPI, without which XDP cannot redirect out of the server;
- the way from a server to a client keeps every offload: no XDP is on it;
- where the switch forwards in XDP (ipos.lab.switch), it does so on back too, so servers finish what
  they send there, and servers have NAPI by GRO even without a data plane. Two servers have a cable
  for back then.
"""

import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from ipos.lab import namespaces, second_family
from ipos.lab.offload import set_offloads
from ipos.lab.plan import (
    BACK_LAN,
    PREFIX_LENGTH,
    SECOND_LAN,
    SWITCH,
    SWITCH_XDP,
    Node,
    Port,
    crossover,
)

_BRIDGE_NETFILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
"""A switch tracks no connections; where the kernel has br_netfilter, a bridge would."""

_SYSCTLS: dict[str, dict[str, int | str]] = {
    "client": {
        # One client stands for many: all ports, and those in TIME_WAIT may be used again.
        "net.ipv4.ip_local_port_range": "1024 65535",
        "net.ipv4.tcp_tw_reuse": 1,
    },
    "router": {"net.ipv4.ip_forward": 1, "net.ipv4.conf.all.send_redirects": 0},
    "server": {
        # The kernel takes the stricter of `all` and the interface's own.
        "net.ipv4.conf.all.rp_filter": 0,
        "net.ipv4.conf.front.rp_filter": 1,
        "net.ipv4.tcp_syncookies": 1,
        "net.ipv4.tcp_rfc1337": 0,
    },
}


_CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")
_CONGESTION_CONTROLS = ("cubic", "reno")
"""What Linux has by default, and what a namespace may always have. A machine's own may be BBR,
whose model of a path is its shortest round trip: here tens of microseconds, much of it hops.
"""


def build(
    lab: str, lans: Iterable[str], hosts: Iterable[Node], switch: str, *, ipv6: str = ""
) -> None:
    """Cable the lab's namespaces, which exist and are empty. switch: one of plan.SWITCHES.

    ipv6: "" for none, "farm", or "bare" where fronts have the service addresses themselves.
    """
    hosts = list(hosts)
    _build_switch(lab, lans, hosts, switch)
    for host in hosts:
        _build_host(lab, host, switch, ipv6=ipv6)


def _build_switch(lab: str, lans: Iterable[str], hosts: list[Node], switch: str) -> None:
    ports = []
    with namespaces.entered(namespaces.path_of(lab, SWITCH)):
        _set_sysctls(second_family.OFF)
        if _BRIDGE_NETFILTER.exists():
            _BRIDGE_NETFILTER.write_text("0")
        with IPRoute() as netlink:
            bridges = {lan: _add_bridge(netlink, lan) for lan in lans}
            cable = crossover(hosts, switch)
            if cable:
                _add_cable(netlink, lab, *cable)
            for host in hosts:
                for interface in host.interfaces:
                    if cable and (host, interface) in cable:
                        continue
                    port = host.port(interface)
                    netlink.link(
                        "add",
                        ifname=port,
                        kind="veth",
                        peer={
                            "ifname": interface.name,
                            "address": interface.mac,
                            "net_ns_fd": namespaces.path_of(lab, host.name).name,
                        },
                    )
                    index = _index(netlink, port)
                    if host.kind == "server":
                        set_offloads(port, tx=False, gro=True)
                    netlink.link("set", index=index, master=bridges[interface.lan], state="up")
                    ports.append((host, interface, index))
            if switch == SWITCH_XDP:
                # Only here: it takes libbpf, which a lab of bridges does not need.
                from ipos.lab.switch import forward_in_xdp

                forward_in_xdp(netlink, ports)


def _add_cable(netlink: Any, lab: str, one: Port, other: Port) -> None:
    near, far = (
        {
            "ifname": interface.name,
            "address": interface.mac,
            "net_ns_fd": namespaces.path_of(lab, host.name).name,
        }
        for host, interface in (one, other)
    )
    netlink.link("add", kind="veth", peer=far, **near)


def _add_bridge(netlink: Any, name: str) -> int:
    netlink.link(
        "add",
        ifname=name,
        kind="bridge",
        br_stp_state=0,
        br_forward_delay=0,
        br_mcast_snooping=0,
    )
    index = _index(netlink, name)
    netlink.link("set", index=index, state="up")
    return index


def _build_host(lab: str, host: Node, switch: str, *, ipv6: str) -> None:
    with namespaces.entered(namespaces.path_of(lab, host.name)):
        _set_sysctls(second_family.sysctls(host) if ipv6 else second_family.OFF)
        _set_sysctls(_SYSCTLS[host.kind])
        if host.filters:
            _set_sysctls({"net.ipv4.conf.all.rp_filter": 1})
        _set_congestion_control()
        with IPRoute() as netlink:
            netlink.link("set", index=_index(netlink, "lo"), state="up")
            for interface in host.interfaces:
                index = _index(netlink, interface.name)
                if host.kind == "client":
                    set_offloads(interface.name, tx=False, tso=False, gso=False)
                for address in interface.addresses:
                    netlink.addr("add", index=index, address=address, prefixlen=PREFIX_LENGTH)
                netlink.link("set", index=index, state="up")
                if host.kind == "server" and switch == SWITCH_XDP:
                    # After it is up: only then does a veth tell its other end that it may redirect.
                    set_offloads(interface.name, gro=True, tx=interface.lan != BACK_LAN)
                if interface.lan == SECOND_LAN:
                    _set_sysctls({f"net.ipv4.conf.{interface.name}.rp_filter": 1})
            if host.gateway:
                netlink.route("add", dst="default", gateway=host.gateway)
            for network, gateway in host.routes:
                netlink.route("add", dst=network, gateway=gateway)
            if ipv6:
                _add_ipv6(netlink, host, bare=ipv6 == "bare")


def _add_ipv6(netlink: Any, host: Node, *, bare: bool) -> None:
    listed = second_family.own_addresses(host, bare=bare)
    for number, (interface, address) in enumerate(listed, start=1):
        index = _index(netlink, interface)
        for each in (second_family.link_local(number, address), address):
            length = second_family.PREFIX_LENGTH6
            netlink.addr("add", index=index, address=each, prefixlen=length)
    gateway = second_family.gateway(host)
    if gateway is not None:
        netlink.route("add", dst="default", gateway=gateway, family=socket.AF_INET6)


def _index(netlink: Any, name: str) -> int:
    index: int = netlink.link_lookup(ifname=name)[0]
    return index


def _set_sysctls(values: dict[str, Any]) -> None:
    for name, value in values.items():
        path = Path("/proc/sys", *name.split("."))
        if path.exists() or not name.startswith("net.ipv6."):  # a kernel may lack IPv6
            path.write_text(f"{value}\n")


def _set_congestion_control() -> None:
    for name in _CONGESTION_CONTROLS:
        try:
            _CONGESTION_CONTROL.write_text(name)
            return
        except OSError:  # not built, or not allowed outside the first namespace
            continue
