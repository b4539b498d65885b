# SPDX-License-Identifier: Apache-2.0
"""Works out what the data plane's maps should hold, from configuration and members. Pure.

The candidates of a pool are those of its servers that say their application listens and is well. A
server that is down stays a candidate; the state in its row keeps it from being chosen, so that no
pool has to be rewritten. `ipos.agent.rows.url_rows` makes the rules.
"""

import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from ipos.abi import rows
from ipos.abi.columns import Columns
from ipos.abi.layout import constant, layout
from ipos.agent.candidates import slot_tables, syns
from ipos.agent.candidates.quic_numbers import number_rows
from ipos.agent.heartbeat.member import Age, Member
from ipos.agent.heartbeat.membership import Members
from ipos.agent.host.listeners import Listener, listener_address
from ipos.agent.on_demand import placement
from ipos.agent.rows import pools
from ipos.agent.rows.address_rows import (
    PROTOCOLS,
    Arps,
    address_rows,
    application6,
    deny6_rows,
    deny_rows,
    identity_rows,
)
from ipos.agent.rows.pools import pool_row
from ipos.agent.rows.redirect_names import name_rows
from ipos.agent.rows.session_rows import session_row
from ipos.config import modes, ownprograms
from ipos.config.schema import Config, Service
from ipos.config.slots import Slot
from ipos.handshake.keys import KeyRing
from ipos.ip_family import Address, address_of, identity, sixes

POLICIES = {policy.name.lower().replace("_", "-"): policy for policy in rows.Policy}
Sent = tuple[int, int]
"""How many endpoints a server was given, and how many of them have ended."""
MODES = {name: rows.Mode[name.upper()] for name in ("http", "tls", "tcp", "quic")}
DECIDES = {"connection": rows.Decide.CONNECTION, "request": rows.Decide.REQUEST}
_JUDGED = ("address", "back_ip", "state", "stale", "updated_ns", "base", "sent")
"""Members of a row of Server state that this agent works out; the others are as they are told."""
_MEMBERS = [one.name for one in layout("ipos_server").fields if one.name not in ("zero", "zeros")]
_TOLD = [name for name in _MEMBERS if name not in _JUDGED]
_told = operator.attrgetter(*_TOLD)
_SERVER = Columns("ipos_server", tuple(_MEMBERS), tuple)
_IN_ORDER = operator.itemgetter(*((*_JUDGED, *_TOLD).index(name) for name in _MEMBERS))


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface as the data plane knows it."""

    index: int
    vlan: int
    mac: bytes
    out: int = 0  # where its VLAN's packets are routed to, if that is not itself


@dataclass(frozen=True, slots=True)
class Rows:
    """The maps that the agent alone writes, whole."""

    services: Mapping[int, rows.Service] = field(default_factory=dict)
    pools: Mapping[int, rows.Pool] = field(default_factory=dict)
    sessions: Mapping[int, rows.Session] = field(default_factory=dict)
    names: Mapping[rows.NameKey, int] = field(default_factory=dict)
    redirects: Mapping[rows.RedirectKey, rows.Redirect] = field(default_factory=dict)
    quic_numbers: Mapping[rows.QuicNumber, int] = field(default_factory=dict)
    addresses: Mapping[rows.AddressKey, rows.Address] = field(default_factory=dict)
    addresses6: Mapping[rows.AddressKey6, rows.Address] = field(default_factory=dict)
    members: Mapping[bytes, int] = field(default_factory=dict)
    identities: Mapping[rows.Identity, int] = field(default_factory=dict)
    servers: Mapping[int, bytes] = field(default_factory=dict)
    slots: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    deny: Mapping[rows.Prefix, int] = field(default_factory=dict)
    deny6: Mapping[rows.Prefix6, int] = field(default_factory=dict)


def key_words(key: bytes) -> tuple[int, int]:
    """A 16-byte SipHash key as the two words that the data plane keeps."""
    return int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")


def settings(
    config: Config,
    front: Interface,
    back: Interface,
    me: int,
    keys: KeyRing,
    wall_offset_ns: int,
    kept: rows.SettingsFlags,
    slept_ns: int = 0,
    vouch: int = 0,
    hold_pieces: int = 0,
    withheld: rows.Options = rows.Options(0),
    own: tuple[int, int] = (0, 0),
    servers: int = 1,
    all_answer: bool = False,
    uplinks: tuple[rows.Uplink, ...] = (),
    back_ip: int = 0,
) -> rows.Settings:
    """The one element of `settings`. `kept` are flags that stay as they are: of who captures or
    watches, and ANSWERS_UNREAD, which no configuration can set again.

    wall_offset_ns, slept_ns: the wall clock and the boottime clock, each minus the next slower one:
    boottime and monotonic. vouch: a number that only this server's data plane knows. hold_pieces:
    of the loaded data plane's hold pool. withheld: TCP options that are offered to nobody. own: the
    pair by which own programs are clients. servers: of the farm. all_answer: see
    `Members.all_answer`. back_ip: names this server where it has no IPv4 service address.
    """
    flags = kept if keys.other is None else kept | rows.SettingsFlags.KEYS_CHANGE
    if config.farm.authenticate:
        flags |= rows.SettingsFlags.AUTHENTICATE
    if any(reads_answers(service) for service in config.service):
        flags &= ~rows.SettingsFlags.ANSWERS_UNREAD
    if any(service.protocol == "udp" for service in config.service):
        flags |= rows.SettingsFlags.FLOWS
    if all_answer:
        flags |= rows.SettingsFlags.ALL_ANSWER
    locates = min(config.farm.locates_per_s, constant("IPOS_LOCATES_FARM") // max(1, servers))
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
        self_ip=IPv4Address(identity(map(int, config.server.addresses), back_ip)),
        wall_offset_ns=wall_offset_ns,
        slept_ns=slept_ns,
        frame_key=key_words(keys.main.frame),
        learn_key=key_words(keys.main.learn),
        other_frame_key=key_words((keys.other or keys.main).frame),
        other_learn_key=key_words((keys.other or keys.main).learn),
        vouch=vouch,
        header_timeout_ms=config.farm.header_timeout_ms,
        idle_s=config.farm.idle_s,
        hold_pieces=hold_pieces,
        guesses=constant("IPOS_GUESSES"),
        waiting_s=config.farm.waiting_timeout_s,
        silent_s=config.farm.first_byte_timeout_s,
        withheld=withheld,
        own_ifindex=own[0],
        own_front_ifindex=own[1],
        locates=locates,
        locates_source=min(locates, constant("IPOS_LOCATES_SOURCE")),
        out_ifindex=front.out or front.index,
        uplink=uplinks,
    )


def withheld(members: Members, now_ns: int) -> rows.Options:
    """TCP options that some server of the farm cannot take."""
    found = rows.Options(0)
    for member in members.by_ip.values():
        if member.state is not None and member.age(now_ns) is not Age.DOWN:
            found |= rows.Options(member.state.withheld)
    return found


def reads_answers(service: Service) -> bool:
    """Whether the data plane must see what the service's applications send, not just their ends."""
    kind = service.session.kind if service.session else None
    return service.decide == "request" or kind in ("insert", "learn", "identify")


def learns(config: Config) -> bool:
    """Whether a service's sessions are rows of the Cookie map, which agents tell each other."""
    kinds = ("learn", "identify")
    return any(one.session is not None and one.session.kind in kinds for one in config.service)


def plan(
    config: Config,
    slots: Sequence[str],
    numbers: Sequence[str],
    members: Members,
    traffic: Mapping[int, Sent],
    now_ns: int,
    ramps: Mapping[tuple[str, int], int] | None = None,
    arps: Arps | None = None,
    boxed: Mapping[str, Listener] | None = None,
    listeners6: Mapping[str, IPv6Address] | None = None,
) -> Rows:
    """Every row, from what is known now.

    `slots` are the services' names by index, `numbers` the pools' keys. `traffic` is each server's
    at the time its state came; `ramps` those by (service, server's index) that are still starting.
    boxed: by service, the socket in a container of this server that it is served by. listeners6: by
    service, the only IPv6 address of ours where its application listens.
    """
    heard = [member for member in members.by_ip.values() if member.state is not None]
    # A server that is refused itself keeps its addresses, or its kernel would answer clients.
    serving = [member for member in heard if member.serves or member is members.myself]
    numbered = [(slots.index(service.name), service) for service in config.service]
    places = {key: index for index, key in enumerate(numbers) if key}
    names, redirects = name_rows(numbered, serving)
    addresses = address_rows(numbered, serving, arps or Arps({}))
    return Rows(
        services={
            index: _service(
                config,
                service,
                places,
                members,
                now_ns,
                (boxed or {}).get(service.name),
                (listeners6 or {}).get(service.name, rows.NOWHERE6),
            )
            for index, service in numbered
        },
        pools=pool_rows(config, numbers, members, now_ns, ramps or {}),
        sessions={
            index: session_row(service.session)
            for index, service in numbered
            if service.session is not None
        },
        names=names,
        redirects=redirects,
        quic_numbers=number_rows(numbered, serving),
        addresses=addresses.four,
        addresses6=addresses.six,
        members={member.state.mac: member.index for member in serving if member.state is not None},
        identities=identity_rows([*heard, *serving]),
        servers={
            member.index: server_row(member, traffic.get(member.index, (0, 0)), member.age(now_ns))
            for member in heard
        },
        slots={
            places[key]: slot_tables.table(one.servers, serving)
            for key, one in pools.definitions(config).items()
            if POLICIES[one.policy] is rows.Policy.SOURCE_HASH
        },
        deny=deny_rows(config),
        deny6=deny6_rows(config),
    )


def pool_rows(
    config: Config,
    numbers: Sequence[str],
    members: Members,
    now_ns: int,
    ramps: Mapping[tuple[str, int], int],
) -> dict[int, rows.Pool]:
    """The pools alone. Nobody is in them while we are refused ourselves."""
    heard = [member for member in members.by_ip.values() if member.serves]
    if members.myself.standing.refused:
        heard = []
    services = {service.name: service for service in config.service}
    places = {key: index for index, key in enumerate(numbers) if key}
    firsts = sum(member.age(now_ns) is not Age.DOWN for member in heard)
    up = {member.index for member in heard if _takes(member, now_ns)}
    able = {
        name: [one for one in heard if syns.may_serve(config, service, one)]
        for name, service in services.items()
    }
    return {
        places[key]: _pool(one, services[one.service], able[one.service], ramps, firsts, up)
        for key, one in pools.definitions(config).items()
    }


def server_row(member: Member, traffic: Sent, age: Age) -> bytes:
    """A heard member's row of Server state, `rows.Server`; `traffic` is what we had sent it.

    As bytes at once: in a large farm it is made many hundred times a second.
    """
    state = member.state
    assert state is not None
    sent, closed = traffic
    judge = member.standing.state
    if age is Age.DOWN and (judge is None or member.standing.refused):
        judge = rows.ServerState.DOWN  # of others see `member_faults`
    judged = (
        identity(state.addresses, state.back_ip).to_bytes(4, "big"),
        state.back_ip.to_bytes(4, "big"),
        judge or state.state,
        age is not Age.FRESH,
        member.heard_ns,
        sent - closed,
        sent & 0xFFFF_FFFF,
    )
    return _SERVER.write(_IN_ORDER((*judged, *_told(state))))


def local_addresses(config: Config, members: Members) -> set[Address]:
    """What is made local by routes: others' addresses, and our own of IPv6 where XDP answers for
    them."""
    own = sixes(config.server.addresses) if config.farm.announce != "none" else []
    return foreign_addresses(members) | set(own)


def foreign_addresses(members: Members) -> set[Address]:
    """The service addresses of all other servers: local here, so that their packets are taken."""
    own = members.myself.state
    found = {
        address
        for member in members.others()
        if member.state is not None and member.serves
        for address in member.state.addresses
    }
    return set(map(address_of, found.difference(own.addresses if own is not None else ())))


def _takes(member: Member, now_ns: int) -> bool:
    state = member.standing.state or (member.state.state if member.state else None)
    return state == rows.ServerState.READY and member.age(now_ns) is not Age.DOWN


def _service(
    config: Config,
    service: Service,
    places: Mapping[str, int],
    members: Members,
    now_ns: int,
    inside: Listener | None,
    listener6: IPv6Address,
) -> rows.Service:
    mine = members.myself.state
    listener, box = service.listener, inside.box if inside else None
    by_syn = mine is not None and service.name in mine.by_syn
    only = mine and listener_address(service, mine.addresses, mine.listening, by_syn=by_syn)
    return rows.Service(
        used=True,
        protocol=PROTOCOLS[service.protocol],
        select=syns.select(config, service, members, now_ns),
        decide=DECIDES[service.decide],
        pool=places[pools.default(config, service).key],
        listening=places[pools.listening(service).key],
        port=service.port,
        application_ip=listener.ip,
        application_port=listener.port,
        log=log_threshold(service.access_log),
        mode=mode(config, service),
        own_refused=ownprograms.is_refused(config, service),
        listener_ip=(inside.ip if inside else only) or rows.NOWHERE,
        application_ip6=application6(service),
        listener_ip6=listener6,
        box=box.index if box else 0,
        box_netns=box.namespace + 1 if box else 0,
        flow_idle_s=service.flow_idle_s,
        start_s=service.start.start_timeout_s if service.start else 0,
        starts=placement.starts(service, members, now_ns),
        id_at=service.connection_id.server_id_at if service.connection_id else 0,
        id_bytes=service.connection_id.server_id_bytes if service.connection_id else 0,
        own_only=isinstance(service, Slot),
    )


def mode(config: Config, service: Service) -> rows.Mode:
    """What its requests may be; what nothing asks for is decided at its first byte."""
    automatic = rows.Mode.AUTO if modes.asks(config, service) else rows.Mode.ANY
    return MODES.get(service.mode, automatic)


def log_threshold(share: float) -> int:
    """Up to which random number of 32 bits a decision is logged; 0: none is."""
    return max(1, round(share * 2**32) - 1) if share else 0


def _pool(
    definition: pools.Definition,
    service: Service,
    heard: list[Member],
    ramps: Mapping[tuple[str, int], int],
    firsts: int,
    up: Collection[int],
) -> rows.Pool:
    weights = definition.servers
    candidates = []
    for member in sorted(heard, key=lambda member: member.index):
        state = member.state
        assert state is not None
        weight = 1 if weights is None else weights.get(state.server, 0)
        if weight:
            ramp = ramps.get((service.name, member.index), rows.RAMP_FULL)
            candidates.append(
                rows.Candidate(member.index, service.listener.port, state.weight or weight, ramp)
            )
    return pool_row(POLICIES[definition.policy], candidates, firsts, up)
