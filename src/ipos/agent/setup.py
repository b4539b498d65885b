# SPDX-License-Identifier: Apache-2.0
"""What the agent works out once, when it starts: which server it is, and how large its tables
are."""

from ipaddress import IPv4Address
from pathlib import Path

import structlog

from ipos.abi.layout import constant
from ipos.abi.rows import Uplink as UplinkRow
from ipos.agent.host import paths
from ipos.agent.network import own_pair
from ipos.agent.network.interfaces import Interface, Network, NetworkError, interface
from ipos.agent.network.policy_routes import policy
from ipos.agent.network.untracked import services
from ipos.agent.rows.desired import key_words
from ipos.config import ownprograms
from ipos.config.remarks import remarks
from ipos.config.schema import Config
from ipos.config.uplink import here, uplink_of
from ipos.errors import IposError
from ipos.handshake.keys import KeyRing
from ipos.ip_family import Address, fours
from ipos.kernel import build, data_plane
from ipos.kernel.maps import Tables

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


def say_notes(config: Config) -> None:
    """What is right in a configuration and good to know."""
    for note in remarks(config):
        log.info("note about the configuration", note=note)


def prepare(
    config: Config, network: Network, front: Interface, back: Interface, *, attached: bool = True
) -> None:
    """Have this machine's network as the data plane needs it. Repeatable.

    Until XDP is attached our kernel would answer for an address that another server may hold.
    """
    none = config.farm.announce == "none"
    own: list[Address] = list(config.server.addresses) if attached or none else []
    if not none:
        # Of IPv6 they are local by routes, as others' are (`desired.local_addresses`). Our kernel
        # asks for neighbours in the name of addresses that front has, and so draws their packets.
        own = list(fours(own))
    mptcp = config.server.mptcp == "leave"
    untracked = services(config, fours(config.server.addresses))
    for one in fronts(config, front):
        its = [address for address in own if front_name(config, address) == one.name]
        source = ownprograms.source(config)
        network.prepare(one, back, its, source, mptcp=mptcp, services=untracked)
    network.police(policy(config.uplink, config.farm.return_))


def fronts(config: Config, front: Interface) -> list[Interface]:
    """All interfaces towards clients, `server.front` first."""
    names = dict.fromkeys(one.interface for one in here(config.uplink) if one.interface)
    return [front, *(interface(name) for name in names if name != front.name)]


def front_name(config: Config, address: Address) -> str:
    """The front interface that a service address belongs on."""
    uplink = uplink_of(config.uplink, address) if isinstance(address, IPv4Address) else None
    return (uplink.interface if uplink else None) or config.server.front


def uplink_rows(config: Config, interfaces: list[Interface]) -> tuple[UplinkRow, ...]:
    """The uplinks as the data plane knows them; none where one front is all there is."""
    if config.farm.return_ == "owner":
        return ()
    by_name = {one.name: one for one in interfaces}
    return tuple(
        UplinkRow(
            int(one.prefix.network_address),
            int(one.prefix.netmask),
            by_name[one.interface].index,
            by_name[one.interface].mac,
        )
        for one in config.uplink
        if one.interface
    )


def attach(config: Config, pins: Path, front: Interface, back: Interface) -> None:
    """Have every program on its hook, and on no other. Repeatable."""
    lookup = any(ownprograms.is_refused(config, service) for service in config.service)
    own_front = own_pair.indices()[1] if ownprograms.source(config) else 0
    plan = data_plane.default_plan(
        front.index, back.index, paths.sockops_cgroup(), lookup=lookup, own_front=own_front,
        more=[one.index for one in fronts(config, front)[1:]],
        quic=any(service.mode == "quic" for service in config.service),
        six=data_plane.has_six(pins),
    )  # fmt: skip
    data_plane.attach(pins, plan)


def extend(config: Config, pins: Path) -> None:
    """Have the programs of IPv6, beside a data plane that runs. Repeatable."""
    data_plane.extend(data_plane.objects_directory(), pins, sizes(config))


def compare_programs(pins: Path) -> None:
    """Before anything is written to what another has loaded. AbiMismatch: it is not for us."""
    data_plane.expect(pins, constant("IPOS_ABI"))
    if build.compare(pins, data_plane.objects_directory()) != "current":
        log.warning("the loaded programs are not of this version", remedy="ipos upgrade")


def state_keys(keys: KeyRing) -> tuple[bytes, bytes | None]:
    """The keys of datagrams: the one that tags are made with, and one more that is believed."""
    return keys.main.state, keys.other.state if keys.other is not None else None


def expect_keys(tables: Tables, keys: KeyRing, secret: Path) -> None:
    """Before a restarted agent gives a running data plane its keys. IposError: they split the farm.

    Keys that follow those it has are taken, as a reload takes them.
    """
    found = tables.settings.get(0)
    if found is None or not found.abi:
        return
    if key_words(keys.main.frame) not in (found.frame_key, found.other_frame_key):
        raise IposError(
            f"the secret in {secret} is not the one that the data plane here runs with, and the "
            "other servers would not believe it: put the old secret back and change it in steps, "
            "each taken by `ipos reload` on all servers; or run `ipos detach` and start anew"
        )
