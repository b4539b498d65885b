# SPDX-License-Identifier: Apache-2.0
"""What the data plane's maps should hold. Pure: configuration and members in, rows out.

A pool's candidates are those of its servers that say their application listens and is well. A
server that is down stays one; its row's state keeps it from being chosen, without a pool being
rewritten. Where rules lead is in `ipos.agent.urls`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from ipos.agent import hashing, pools
from ipos.agent.columns import Columns
from ipos.agent.members import Age, Member, Members
from ipos.agent.naming import name_rows
from ipos.agent.sessions import session_row
from ipos.config.schema import Config, Service
from ipos.handshake.keys import FarmKeys
from ipos.inic import rows
from ipos.inic.layout import constant

POLICIES = {policy.name.lower().replace("_", "-"): policy for policy in rows.Policy}
Sent = tuple[int, int]
"""How many endpoints a server was given, and how many of them have ended."""
SELECTS = {"request": rows.Select.REQUEST, "connection": rows.Select.CONNECTION}
DECIDES = {"connection": rows.Decide.CONNECTION, "request": rows.Decide.REQUEST}
PROTOCOLS = {"tcp": rows.PROTOCOL_TCP, "udp": rows.PROTOCOL_UDP}
_SERVER = Columns(
    "ipos_server",
    ("address", "back_ip", "mac", "state", "stale", "tcp_connections", "cpu_permille",
     "memory_available", "bandwidth_available", "updated_ns", "base", "limit", "sent"),
    tuple,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface as the data plane knows it."""

    index: int
    vlan: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class Rows:
    """The maps that the agent alone writes, whole."""

    services: Mapping[int, rows.Service] = field(default_factory=dict)
    pools: Mapping[int, rows.Pool] = field(default_factory=dict)
    sessions: Mapping[int, rows.Session] = field(default_factory=dict)
    names: Mapping[rows.NameKey, int] = field(default_factory=dict)
    redirects: Mapping[rows.RedirectKey, rows.Redirect] = field(default_factory=dict)
    addresses: Mapping[rows.AddressKey, rows.Address] = field(default_factory=dict)
    members: Mapping[bytes, int] = field(default_factory=dict)
    servers: Mapping[int, bytes] = field(default_factory=dict)
    slots: Mapping[int, bytes] = field(default_factory=dict)
    deny: Mapping[rows.Prefix, int] = field(default_factory=dict)


def key_words(key: bytes) -> tuple[int, int]:
    """A 16-byte SipHash key as the two words that the data plane keeps."""
    return int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")


def settings(
    config: Config,
    front: Interface,
    back: Interface,
    me: int,
    keys: FarmKeys,
    wall_offset_ns: int,
    kept: rows.SettingsFlag,
    slept_ns: int = 0,
) -> rows.Settings:
    """The one element of `settings`. `kept` are flags that stay as they are: of who captures or
    watches, and ANSWERS_UNREAD, which no configuration can set again.

    wall_offset_ns, slept_ns: the wall clock and the boottime clock, each minus the next slower one:
    boottime and monotonic.
    """
    flags = kept
    if config.farm.authenticate:
        flags |= rows.SettingsFlag.AUTHENTICATE
    if any(reads_answers(service) for service in config.service):
        flags &= ~rows.SettingsFlag.ANSWERS_UNREAD
    return rows.Settings(
        abi=constant("IPOS_ABI"),
        flags=flags,
        front_ifindex=front.index,
        back_ifindex=back.index,
        front_vlan=front.vlan,
        back_vlan=back.vlan,
        ethertype=config.farm.ethertype,
        self=me,
        front_mac=front.mac,
        back_mac=back.mac,
        self_ip=config.server.addresses[0],
        wall_offset_ns=wall_offset_ns,
        slept_ns=slept_ns,
        frame_key=key_words(keys.frame),
        learn_key=key_words(keys.learn),
        header_timeout_ms=config.farm.header_timeout_ms,
        idle_s=config.farm.idle_s,
    )


def reads_answers(service: Service) -> bool:
    """Whether the data plane must see what the service's applications send, not just their ends."""
    kind = service.session.kind if service.session else None
    return service.decide == "request" or kind in ("insert", "learn")


def number_services(config: Config, before: Sequence[str]) -> list[str]:
    """Services' names by index, "" where there is none.

    A service keeps the index it had `before`: connections of the data plane refer to it.
    """
    names = [service.name for service in config.service]
    slots = [name if name in names else "" for name in before]
    for name in names:
        if name not in slots:
            free = slots.index("") if "" in slots else len(slots)
            slots[free : free + 1] = [name]
    return slots


def plan(
    config: Config,
    slots: Sequence[str],
    numbers: Sequence[str],
    members: Members,
    traffic: Mapping[int, Sent],
    now_ns: int,
    ramps: Mapping[tuple[str, int], int] | None = None,
) -> Rows:
    """Every row, from what is known now.

    `slots` are the services' names by index, `numbers` the pools' keys. `traffic` is each server's
    at the time its state came; `ramps` those by (service, server's index) that are still starting.
    """
    heard = [member for member in members.by_ip.values() if member.state is not None]
    numbered = [(slots.index(service.name), service) for service in config.service]
    places = {key: index for index, key in enumerate(numbers) if key}
    names, redirects = name_rows(numbered, heard)
    return Rows(
        services={index: _service(config, service, places) for index, service in numbered},
        pools=pool_rows(config, numbers, members, now_ns, ramps or {}),
        sessions={
            index: session_row(service.session)
            for index, service in numbered
            if service.session is not None
        },
        names=names,
        redirects=redirects,
        addresses=_addresses(numbered, heard),
        members={member.state.mac: member.index for member in heard if member.state is not None},
        servers={
            member.index: server_row(member, traffic.get(member.index, (0, 0)), member.age(now_ns))
            for member in heard
        },
        slots={
            places[key]: hashing.table(one.servers, heard)
            for key, one in pools.definitions(config).items()
            if POLICIES[one.policy] is rows.Policy.SOURCE_HASH
        },
        deny={
            rows.Prefix(network.prefixlen, network.network_address): 1
            for network in config.farm.deny
        },
    )


def pool_rows(
    config: Config,
    numbers: Sequence[str],
    members: Members,
    now_ns: int,
    ramps: Mapping[tuple[str, int], int],
) -> dict[int, rows.Pool]:
    """The pools alone."""
    heard = [member for member in members.by_ip.values() if member.state is not None]
    services = {service.name: service for service in config.service}
    places = {key: index for index, key in enumerate(numbers) if key}
    firsts = sum(member.age(now_ns) is not Age.DOWN for member in heard)
    return {
        places[key]: _pool(one, services[one.service], heard, ramps, firsts)
        for key, one in pools.definitions(config).items()
    }


def server_row(member: Member, traffic: Sent, age: Age) -> bytes:
    """A heard member's row of Server state, `rows.Server`; `traffic` is what we had sent it.

    As bytes at once: in a large farm it is made many hundred times a second.
    """
    state = member.state
    assert state is not None
    sent, closed = traffic
    return _SERVER.write(
        (
            (state.addresses[0] if state.addresses else 0).to_bytes(4, "big"),
            state.back_ip.to_bytes(4, "big"),
            state.mac,
            rows.ServerState.DOWN if age is Age.DOWN else state.state,
            age is not Age.FRESH,
            state.tcp_connections,
            state.cpu_permille,
            state.memory_available,
            state.bandwidth_available,
            member.heard_ns,
            sent - closed,
            state.limit,
            sent & 0xFFFF_FFFF,
        )
    )


def foreign_addresses(members: Members) -> set[IPv4Address]:
    """The service addresses of all other servers: local here, so that their packets are taken."""
    return {
        IPv4Address(address)
        for member in members.others()
        if member.state is not None
        for address in member.state.addresses
    }


def _service(config: Config, service: Service, places: Mapping[str, int]) -> rows.Service:
    listener = service.listener
    return rows.Service(
        protocol=PROTOCOLS[service.protocol],
        select=SELECTS[service.select],
        decide=DECIDES[service.decide],
        pool=places[pools.default(config, service).key],
        listening=places[pools.listening(service).key],
        port=service.port,
        application_ip=listener.ip,
        application_port=listener.port,
        log=log_threshold(service.access_log),
    )


def log_threshold(share: float) -> int:
    """Up to which random number of 32 bits a decision is logged; 0: none is."""
    return max(1, round(share * 2**32) - 1) if share else 0


def _pool(
    definition: pools.Definition,
    service: Service,
    heard: list[Member],
    ramps: Mapping[tuple[str, int], int],
    firsts: int,
) -> rows.Pool:
    weights = definition.servers
    candidates = []
    for member in sorted(heard, key=lambda member: member.index):
        state = member.state
        assert state is not None
        weight = 1 if weights is None else weights.get(state.server, 0)
        if weight and service.name in state.services:
            ramp = ramps.get((service.name, member.index), rows.RAMP_FULL)
            candidates.append(
                rows.Candidate(member.index, service.listener.port, state.weight or weight, ramp)
            )
    most = constant("IPOS_CANDIDATES_MAX")
    return rows.Pool(POLICIES[definition.policy], tuple(candidates[:most]), firsts=firsts)


def _addresses(
    numbered: list[tuple[int, Service]], heard: list[Member]
) -> dict[rows.AddressKey, rows.Address]:
    """Every service on every address of every server."""
    found = {}
    for member in heard:
        assert member.state is not None
        for address in member.state.addresses:
            for index, service in numbered:
                key = rows.AddressKey(
                    IPv4Address(address), service.port, PROTOCOLS[service.protocol]
                )
                found[key] = rows.Address(index, member.index)
    return found
