# SPDX-License-Identifier: Apache-2.0
"""What the agent works out once, when it starts: who it is, and where it listens."""

import socket
from ipaddress import IPv4Address

from ipos.agent import message
from ipos.agent.network import Interface, NetworkError
from ipos.config.schema import Config


def my_back_address(config: Config, back: Interface) -> IPv4Address:
    """Which member we are: the one whose back address is on our back interface."""
    own = [address for address, _ in back.addresses]
    service = set(config.server.addresses)
    for address in own:
        if address in config.farm.members:
            return address
    if config.farm.discover:
        for address in own:
            if address not in service:
                return address
    has = ", ".join(map(str, own)) or "no IPv4 address"
    raise NetworkError(
        f"none of farm.members is an address of this server's back interface {back.name}, which "
        f"has {has}; add that one to members on every server, or correct server.back"
    )


def broadcast(back: Interface, me: IPv4Address) -> IPv4Address:
    """Everybody on the back LAN."""
    for address, prefix in back.addresses:
        if address == me:
            return IPv4Address(int(address) | (1 << (32 - prefix)) - 1)
    return IPv4Address("255.255.255.255")


def state_socket(back: str) -> socket.socket:
    """Takes state datagrams from the back interface only."""
    state = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        state.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, back.encode())
        state.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        state.setblocking(False)
        state.bind(("", message.PORT))
    except OSError as error:
        state.close()
        raise NetworkError(
            f"cannot take UDP port {message.PORT} on {back}: {error.strerror}; is another agent "
            "running on this server?"
        ) from None
    return state


def sizes(config: Config) -> dict[str, int]:
    """`[farm.limits]` as sizes of maps."""
    limits = config.farm.limits
    return {
        name: getattr(limits, name)
        for name in limits.__struct_fields__
        if getattr(limits, name) is not None
    }
