# SPDX-License-Identifier: Apache-2.0
"""LANs that forward in XDP, in a lab built with `switch = "xdp"`.

A bridge costs the machine an sk_buff, a look-up and a queue for each frame, in the name of hosts
that on a real site would not notice their switch at all. Here the frames for servers, and all on
back, are passed from port to port by `bpf/switch.bpf.c`, and a server takes them in by NAPI, as
from a NIC's driver. Benchmarks use it, in every arm.

What servers send on front keeps the bridge: XDP on that way would cut their segmentation offload,
which a NIC has. Between two servers back is a cable, and no switch. Nobody hears what XDP forwards:
captures on the switch and losses want a bridge.
"""

import os
import sys
from collections.abc import Iterable
from typing import Any

from ipos.kernel.data_plane import objects_directory
from ipos.kernel.libbpf.map_store import Map
from ipos.kernel.libbpf.objects import BpfObject
from ipos.lab.plan import BACK_LAN, CLIENT_LAN, Interface, Node

_OBJECT = objects_directory() / "lab" / "switch.bpf.o"
_PROGRAM = "lab_switch"
_NUD_NOARP, _NTF_MASTER = 0x40, 0x04
"""Of linux/neighbour.h: an entry of the bridge that does not age (a permanent one is its own)."""

_Attached = tuple[Node, Interface, int]
"""A host, its interface, and the ifindex of the switch's end of the cable."""


def forward_in_xdp(netlink: Any, ports: Iterable[_Attached]) -> None:
    """Attach the program where it belongs. netlink: of the switch's namespace, which is entered.

    KernelError, with libbpf's words, if the kernel does not take it.
    """
    lans: dict[str, list[_Attached]] = {}
    for port in ports:
        lans.setdefault(port[1].lan, []).append(port)
    lans.pop(CLIENT_LAN, None)
    for lan, members in lans.items():
        with BpfObject(_OBJECT) as program:
            program.load()
            hosts, wires = (Map(os.dup(program.maps[name].fd)) for name in ("hosts", "ports"))
            with hosts, wires:
                for host, interface, index in members:
                    # By the bridge the router hears servers, but it never hears the router.
                    netlink.fdb(
                        "add",
                        ifindex=index,
                        lladdr=interface.mac,
                        state=_NUD_NOARP,
                        flags=_NTF_MASTER,
                    )
                    if host.kind == "server":
                        number = index.to_bytes(4, sys.byteorder)
                        hosts.update(_mac(interface), number)
                        wires.update(number, number)
            for host, _, index in members:
                if lan == BACK_LAN or host.kind == "router":
                    netlink.link("set", index=index, xdp_fd=program.program_fd(_PROGRAM))


def _mac(interface: Interface) -> bytes:
    return bytes.fromhex(interface.mac.replace(":", "")) + bytes(2)
