# SPDX-License-Identifier: Apache-2.0
"""The pair of virtual interfaces by which this server's own programs are clients of the farm.

What they send to a service address leaves by `PROGRAMS` and comes in at `FRONT`, where the data
plane has its programs as on front; what is for them comes in at `PROGRAMS`. Both have front's MAC
address, so that a frame to it is for a program of this server, wherever it was made.
"""

import ctypes
import fcntl
import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path

from ipos.agent.network.rtnetlink import RtNetlink

PROGRAMS, FRONT = "ipos-own", "ipos-front"
_ADDRESSES = {PROGRAMS: IPv4Address("169.254.77.1"), FRONT: IPv4Address("169.254.77.2")}
"""A reverse-path filter takes nothing on an interface without one. Nobody uses them."""
_SCOPE_HOST = 254
_SETTINGS = {"accept_local": "1", "rp_filter": "2"}
_SIOCETHTOOL = 0x8946
_CHECKSUMS, _GRO = 0x17, 0x2C  # ETHTOOL_STXCSUM, ETHTOOL_SGRO


def make(mac: bytes) -> None:
    """Have the pair, ready for use. Repeatable. OSError when the kernel refuses."""
    with RtNetlink() as netlink:
        if not all(indices()):
            netlink.add_pair(PROGRAMS, FRONT)
        for name, index in zip((PROGRAMS, FRONT), indices(), strict=True):
            for key, value in _SETTINGS.items():
                Path(f"/proc/sys/net/ipv4/conf/{name}/{key}").write_text(value)
            with suppress(OSError):  # a kernel without IPv6
                Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
            netlink.set_up(index, mac)
            with suppress(FileExistsError):
                netlink.add_address(index, _ADDRESSES[name], _SCOPE_HOST)
    _switch(PROGRAMS, _CHECKSUMS, on=False)  # XDP reads packets as they are
    _switch(PROGRAMS, _GRO, on=True)  # a veth takes redirected frames then


def remove() -> None:
    """Take it away, if it is there."""
    index, _ = indices()
    if index:
        with RtNetlink() as netlink, suppress(OSError):
            netlink.delete_link(index)


def indices() -> tuple[int, int]:
    """Of `PROGRAMS` and `FRONT`; 0 where there is none."""
    return _index(PROGRAMS), _index(FRONT)


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def _switch(interface: str, command: int, *, on: bool) -> None:
    value = ctypes.create_string_buffer(struct.pack("II", command, on), 8)
    request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, request)
