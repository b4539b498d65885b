# SPDX-License-Identifier: Apache-2.0
"""Where an application listens: an address and a port, or a container."""

import re
from ipaddress import AddressValueError, IPv4Address
from typing import Self

BOX_PATTERN = (
    r"(?P<box>container:[A-Za-z0-9][A-Za-z0-9_.-]{0,127}|(?:netns|cgroup):/[^\x00-\x1f\x7f]{1,255}?)"
    r"(?::(?P<port>\d{1,5}))?"
)


class Listener:
    """Where an application listens: `127.0.0.1:8080`; 0.0.0.0 is any address.

    box: the container that it is in, as `container:web`, `netns:/run/netns/web` or `cgroup:/web`;
    "" leaves it open. port 0: the service's. Not a dataclass: msgspec would expect a table for one.
    """

    __slots__ = ("box", "ip", "port")

    def __init__(self, ip: IPv4Address, port: int, box: str = "") -> None:
        self.ip = ip
        self.port = port
        self.box = box

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Listener) and self._all() == other._all()

    def __hash__(self) -> int:
        return hash(self._all())

    def _all(self) -> tuple[IPv4Address, int, str]:
        return self.ip, self.port, self.box

    @classmethod
    def parse(cls, text: str) -> Self:
        """ValueError for anything but an IPv4 address, a colon and a port, or a container."""
        container = re.fullmatch(BOX_PATTERN, text)
        if container:
            number = int(container["port"] or 0)
            if container["port"] and not 1 <= number <= 65535:
                raise ValueError(f"{text!r} has no port")
            return cls(IPv4Address(0), number, container["box"])
        host, colon, port = text.rpartition(":")
        if not colon or not re.fullmatch(r"\d{1,5}", port) or not 1 <= int(port) <= 65535:
            raise ValueError(f"{text!r} is no address and port")
        try:
            return cls(IPv4Address(host), int(port))
        except AddressValueError as error:
            raise ValueError(str(error)) from None

    def __str__(self) -> str:
        place = self.box or str(self.ip)
        return f"{place}:{self.port}" if self.port else place
