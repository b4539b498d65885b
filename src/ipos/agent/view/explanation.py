# SPDX-License-Identifier: Apache-2.0
"""Says which server would answer a request now, and why: the oracle decides by the rows in
force."""

from dataclasses import asdict, dataclass
from typing import Any

from ipos.abi import rows
from ipos.abi.families import AnyAddressKey
from ipos.agent.rows.redirect_names import named_by, own_places
from ipos.agent.view.rules_in_force import (
    Routed,
    Unexplained,
    asked,
    pool_label,
    routed,
    service_name,
)
from ipos.agent.view.service_places import is_denied, place, service_row
from ipos.agent.view.session_view import stuck
from ipos.agent.view.table_views import STATES, View
from ipos.ip_family import Address, parse_address
from ipos.selection.candidates import RAMP_FULL
from ipos.selection.outlook import Outlook, outlook
from ipos.selection.policies import Candidate, Load, Policy, Request, ServerState, score


@dataclass(frozen=True, slots=True)
class Standing:
    """A server before the decision. `reason` is why it is or is not usable.

    `connections` are those the policy reckons with; score and share are 0 for one it never sees.
    `price` is what its score is multiplied by where it is short of CPU, memory or bandwidth, and
    `short_of` which of them that is, None where none is half gone; `least-loaded` goes by them.
    """

    index: int
    server: str
    address: str
    state: str
    stale: bool
    weight: int
    connections: int
    cpu_utilisation: float
    short_of: str | None
    price: int
    score: int
    usable: bool
    reason: str
    share: float


@dataclass(frozen=True, slots=True)
class Possible:
    """One decision that can come out, the part of requests for which it does, and why."""

    server: str | None
    share: float
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """`first_server` is who is asked: who answers for the address, None where nobody does or only
    a name is known.

    `route` is the place in the configuration of the rule that gave the pool, None for no rule.
    """

    url: str
    service: str
    service_address: str | None
    first_server: str | None
    select: str
    host: str
    path: str
    route: int | None
    rule: str
    pool: str | None
    policy: str
    notes: list[str]
    servers: list[Standing]
    decisions: list[Possible]

    def document(self) -> dict[str, Any]:
        return asdict(self)


def _held_by(view: View, address: object, lists: str | None) -> str | None:
    """A server that answers for an address now; `lists` is a server that lists it."""
    found = [one.holder for one in view.snapshot.addresses if one.address == str(address)]
    if lists in found or not found:
        return lists
    return next(filter(None, found), None)


def explain(
    view: View, url: str, client: str = "", cookie: str = "", alpn: str = ""
) -> Explanation:
    """Unexplained when the URL leads to no service here, or the client is no address."""
    request = asked(url, alpn)
    host, port = _address(request.host), request.port
    index, holder = _service(view, host, port)
    service = view.tables.services.get(index)
    found = routed(view, index, request.host, request.path, request.offers)
    pool = view.tables.pools.get(found.pool)
    if service is None or pool is None:
        raise Unexplained(f"service {index} has no row in the iNIC any more: ask again")
    known = dict(view.servers())
    policy = Policy(pool.policy)
    told = outlook(
        policy,
        [Candidate(one.server, one.weight, one.ramp) for one in pool.candidates],
        {number: _load(view, number, server) for number, server in known.items()},
        _request(view, policy, found.pool, pool, client),
        any_client=not client,
    )
    names = _names(view)
    name = service_name(view, index)
    pool_name = _at(view.snapshot.labels, found.pool)
    decisions = [
        Possible(
            names.get(one.candidate.server) if one.candidate else None,
            round(part, 4),
            one.reason,
        )
        for one, part in told.decisions
    ]
    notes: list[str] = []
    by_name = named_by(view.tables, index, request.host, pool, known)
    if by_name is not None:
        notes.append(f"sessions go by name, and this request by {by_name.reason}")
        if by_name.server is not None:
            decisions = [Possible(names.get(by_name.server), 1.0, by_name.reason)]
        elif by_name.redirect:
            notes.append(_sent(view, index, names))
    sticks = stuck(view, index, cookie, pool, known) if cookie else None
    if sticks is not None:
        notes.append(sticks.note)
        if sticks.server is not None:
            decisions = [Possible(names.get(sticks.server), 1.0, sticks.reason)]
    return Explanation(
        url=url,
        service=name,
        service_address=None if isinstance(host, str) else place(host, port),
        first_server=_held_by(view, host, names.get(holder)) if holder else None,
        select=service.select.name.lower(),
        host=request.host,
        path=request.path,
        route=found.route,
        rule=_rule(view, name, found),
        pool=pool_name or None,
        policy=policy.title,
        notes=_notes(view, client)
        + _by_syn(view, name)
        + _unread(view, index, found)
        + notes
        + _mode(service)
        + _started(service, decisions),
        servers=_standings(view, told, names, name, pool_name, policy, pool.firsts or 1),
        decisions=decisions,
    )


def _address(host: str) -> Address | str:
    """A host that is no address stays a name."""
    try:
        return parse_address(host)
    except ValueError:
        return host


def _service(view: View, host: Address | str, port: int) -> tuple[int, int]:
    """(index of the service, index of the server that owns the address or 0)."""
    if not isinstance(host, str):
        address = service_row(view.tables, host, port)
        if address is not None:
            return address.service, address.holder
    else:
        for index, service in view.tables.services.items():
            if service.used and service.port == port:
                return index, 0
    known: list[AnyAddressKey] = [
        key for tables in view.families() for key, _ in tables.addresses.items()
    ]
    places = sorted({place(key.ip, key.port) for key in known if key.port})
    shown = ", ".join(places[:12]) + (", ..." if len(places) > 12 else "")
    raise Unexplained(
        f"{place(host, port)} is no service address of this farm, so ipOS lets it pass untouched; "
        f"there are {shown or 'none'}"
    )


def _request(view: View, policy: Policy, index: int, pool: rows.Pool, client: str) -> Request:
    """What is known of the next request before it comes."""
    table = view.tables.slots_of(index) if policy is Policy.SOURCE_HASH else ()
    return Request(
        turn=pool.turn,
        client=_number(_client(client)) if client else 0,
        firsts=pool.firsts or 1,
        table=table,
        ramp=pool.ramp_most,
    )


def _client(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError:
        raise Unexplained(f"{text} is no address of a client") from None


def _number(client: Address) -> int:
    """As the policy "source-hash" takes it: of an IPv6 client, its words in one, exclusive or."""
    number, word = int(client), 0
    while number:
        word, number = word ^ number & 0xFFFF_FFFF, number >> 32
    return word


def _load(view: View, index: int, server: rows.Server) -> Load:
    traffic = view.tables.traffic.get(index) or rows.Traffic(0, 0)
    return Load(
        ServerState(server.state),
        server.tcp_connections,
        min(server.cpu_permille, 1000),
        traffic.sent,
        traffic.closed,
        server.base,
        server.limit,
        server.sent,
        min(server.memory_short, 100),
        min(server.bandwidth_short, 100),
    )


def _names(view: View) -> dict[int, str]:
    said = {one.index: one.server for one in view.snapshot.servers}
    return {index: said.get(index, str(server.address)) for index, server in view.servers()}


def _rule(view: View, service: str, found: Routed) -> str:
    """The rule that gave the pool, in a sentence."""
    label = pool_label(view, found.pool)
    if found.route is None:
        return f"{found.reason}, so service {service} gives it to {label}"
    others = "".join(f"; not route {one.route}, {one.rule}: {one.reason}" for one in found.others)
    return f"route {found.route}, {found.rule}, gives it to {label}: {found.reason}{others}"


def _sent(view: View, service: int, names: dict[int, str]) -> str:
    """Where clients are sent, by the server that is decided for."""
    own = sorted(own_places(view.tables, service).items())
    places = ", ".join(f"{names[at]} by {place}" for at, place in own if at in names)
    return f"its client is sent on by a 307 to the server's own name: {places}"


def _notes(view: View, client: str) -> list[str]:
    """How the client influences the choice."""
    if client and is_denied(view.tables, _client(client)):
        return [f"{client} is denied: its packets are dropped before any decision"]
    return []


_MODES = {
    rows.Mode.HTTP: 'mode = "http": what is neither HTTP/1 nor HTTP/2 is refused',
    rows.Mode.TLS: 'mode = "tls": what is no TLS is refused',
    rows.Mode.TCP: 'mode = "tcp": its clients\' bytes are not read, whatever they are',
    rows.Mode.ANY: "no route, session or decide of its service asks for anything that a request "
    "says, so its clients' bytes are not read, whatever they are",
}


def _started(service: rows.Service, decisions: list[Possible]) -> list[str]:
    """What becomes of a request that finds no application, where a server may start it."""
    if any(one.server for one in decisions):
        return []
    if service.starts == rows.Starts.WAIT:
        waits = f"the request waits for up to {service.start_s} s"
        return [f"no server has its application now, so one starts it, and {waits}"]
    if service.starts == rows.Starts.FAILED:
        return ["no server can start its application now, so the request is answered by 503"]
    return []


def _by_syn(view: View, service: str) -> list[str]:
    """Why a server is chosen at the SYN although the configuration does not say so."""
    servers = [one.server for one in view.snapshot.servers if service in one.by_syn]
    where = f"its application listens with MPTCP on {', '.join(servers)}"
    until = "until that application is restarted, a server is chosen when a client's SYN comes"
    return [f"{where}, so {until}"] if servers else []


def _mode(service: rows.Service) -> list[str]:
    """What of the first bytes is looked at, where that is not all."""
    if service.select is not rows.Select.REQUEST or service.mode not in _MODES:
        return []
    return [_MODES[service.mode]]


def _unread(view: View, index: int, found: Routed) -> list[str]:
    """What happens to a client that sends no request before the server speaks."""
    unread = routed(view, index, "", "")
    service = view.tables.services.get(index)
    if service is None or service.select is not rows.Select.REQUEST or unread.pool == found.pool:
        return []
    to = pool_label(view, unread.pool)
    waiting = "a client of HTTP/2 that waits for the server's SETTINGS, as gRPC's do,"
    return [f"{waiting} names no host or path in time: its connection goes to {to}"]


def _standings(
    view: View,
    told: Outlook,
    names: dict[int, str],
    service: str,
    pool: str,
    policy: Policy,
    firsts: int,
) -> list[Standing]:
    """The candidates in the pool's order, then the servers that are none."""
    candidates = [one.candidate for one in told.prospects]
    prospects = {one.candidate.server: one for one in told.prospects}
    serving = {one.index: service in one.services for one in view.snapshot.servers}
    known = dict(view.servers())
    found = []
    for index in (*prospects, *sorted(known.keys() - prospects.keys())):
        server, prospect = known.get(index), prospects.get(index)
        if server is None:
            continue
        load = prospect.load if prospect else _load(view, index, server)
        if prospect is not None:
            reason = prospect.obstacle or _able(prospect.candidate)
        elif pool and serving.get(index):
            reason = f"is not in pool {pool}"
        else:
            reason = "says that its application does not listen or is not well"
        found.append(
            Standing(
                index=index,
                server=names[index],
                address=str(server.address),
                state=str(STATES[server.state]),
                stale=server.stale,
                weight=prospect.candidate.weight if prospect else 0,
                connections=load.connections,
                cpu_utilisation=server.cpu_permille / 1000,
                short_of=load.shortest[1] if load.price > 1 else None,
                price=load.price,
                score=score(policy, prospect.candidate, candidates, load, firsts)
                if prospect
                else 0,
                usable=prospect is not None and not prospect.obstacle,
                reason=reason,
                share=round(prospect.share, 4) if prospect else 0.0,
            )
        )
    return found


def _able(candidate: Candidate) -> str:
    if candidate.ramp >= RAMP_FULL:
        return "can take it"
    return f"can take it, and is offered {candidate.ramp / RAMP_FULL:.0%}: it has just started"


def _at(names: list[str], index: int) -> str:
    return names[index] if index < len(names) else ""
