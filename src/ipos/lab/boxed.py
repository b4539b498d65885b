# SPDX-License-Identifier: Apache-2.0
"""A container for each server's application: a network namespace behind a pair of interfaces.

It is built as CNI's bridge plugin builds one: our end of the pair is a port of a bridge that has
the container's gateway, and the other end is called eth0 there.
"""

from typing import Any

from pyroute2 import IPRoute

from ipos.lab import namespaces
from ipos.lab.places import Place

BRIDGE, PORT, INSIDE = "cni0", "box", "eth0"
GATEWAY, ADDRESS, PREFIX_LENGTH = "10.88.0.1", "10.88.0.2", 24


def build(place: Place) -> None:
    """In a server that exists: a container that is empty. place: the server's own."""
    box = place.boxed()
    namespaces.create(box.namespace)
    with namespaces.entered(place.namespace), IPRoute() as netlink:
        if not netlink.link_lookup(ifname=BRIDGE):
            netlink.link("add", ifname=BRIDGE, kind="bridge", br_mcast_snooping=0)
            netlink.addr(
                "add", index=_index(netlink, BRIDGE), address=GATEWAY, prefixlen=PREFIX_LENGTH
            )
            netlink.link("set", index=_index(netlink, BRIDGE), state="up")
        peer = {"ifname": INSIDE, "net_ns_fd": box.namespace.name}
        netlink.link("add", ifname=PORT, kind="veth", peer=peer)
        bridge = _index(netlink, BRIDGE)
        netlink.link("set", index=_index(netlink, PORT), master=bridge, state="up")
    with namespaces.entered(box.namespace), IPRoute() as netlink:
        netlink.link("set", index=_index(netlink, "lo"), state="up")
        index = _index(netlink, INSIDE)
        netlink.addr("add", index=index, address=ADDRESS, prefixlen=PREFIX_LENGTH)
        netlink.link("set", index=index, state="up")
        netlink.route("add", dst="default", gateway=GATEWAY)


def remove(place: Place) -> None:
    """As an engine removes a container whose processes have ended: the pair, then the namespace."""
    with namespaces.entered(place.namespace), IPRoute() as netlink:
        for index in netlink.link_lookup(ifname=PORT):
            netlink.link("del", index=index)
    namespaces.remove(place.boxed().namespace)


def _index(netlink: Any, name: str) -> int:
    index: int = netlink.link_lookup(ifname=name)[0]
    return index
