# SPDX-License-Identifier: Apache-2.0
"""What the agent works out once, when it starts: who it is, and how large its tables are."""

from ipaddress import IPv4Address
from pathlib import Path

import structlog

from ipos.agent.network import Interface, NetworkError
from ipos.config.schema import Config
from ipos.inic import built, kernel
from ipos.inic.layout import constant

log = structlog.get_logger()


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


PIECES_MIN = 256
"""Of the hold pool: the longest head is some fifteen of them."""


def sizes(config: Config) -> dict[str, int]:
    """`[farm.limits]` as sizes of maps. The hold pool has a piece for each row of `holding`."""
    limits = config.farm.limits
    found = {
        name: getattr(limits, name)
        for name in limits.__struct_fields__
        if getattr(limits, name) is not None
    }
    if limits.holding is not None:
        found |= dict.fromkeys(("hold_pool", "hold_free"), max(limits.holding, PIECES_MIN))
    return found


def compare_programs(pins: Path) -> None:
    """Before anything is written to what another has loaded. AbiMismatch: it is not for us."""
    kernel.expect(pins, constant("IPOS_ABI"))
    if built.compare(pins, kernel.objects_directory()) != "current":
        log.warning("the loaded programs are not of this version", remedy="ipos upgrade")
