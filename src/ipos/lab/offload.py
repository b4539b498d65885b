# SPDX-License-Identifier: Apache-2.0
"""Offloads of an interface by the ethtool ioctl (linux/ethtool.h), in the current namespace.

A veth pair leaves checksums unfinished and segments merged, because nothing on the way needs them.
XDP reads and forwards such packets as they are, so whoever sends towards it must finish them.
"""

import ctypes
import fcntl
import socket
import struct

_SIOCETHTOOL = 0x8946
_COMMANDS = {"tx": 0x17, "sg": 0x19, "tso": 0x1F, "gso": 0x24, "gro": 0x2C}
"""Feature as `ethtool -K` names it -> its ETHTOOL_S* command."""


def set_offloads(interface: str, **features: bool) -> None:
    """Switch features of an interface on or off, in the order given. OSError if it is refused."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for feature, on in features.items():
            value = ctypes.create_string_buffer(struct.pack("II", _COMMANDS[feature], on), 8)
            request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(value))
            fcntl.ioctl(control, _SIOCETHTOOL, request)
