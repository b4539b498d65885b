# SPDX-License-Identifier: Apache-2.0
"""Opens the sockets and rings of a running agent, and connects the parts that use them."""

import time
from collections.abc import Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address

import structlog

from ipos.agent import setup
from ipos.agent.beat import Beat
from ipos.agent.departure import Departure
from ipos.agent.drain.emptying import Emptying
from ipos.agent.endpoints.endpoints import Endpoints
from ipos.agent.examination.examiner import Examiner, host
from ipos.agent.exchange import Exchange
from ipos.agent.expiry.silent_clients import SilentClients
from ipos.agent.expiry.sweep import Sweep
from ipos.agent.flows.idle_flows import IdleFlows
from ipos.agent.heartbeat.learned_cookies import CookieGossip
from ipos.agent.heartbeat.order_file import OrderFile
from ipos.agent.heartbeat.probe import Prober
from ipos.agent.heartbeat.transport import Port
from ipos.agent.holders import announcements
from ipos.agent.holders.announcements import Announcements
from ipos.agent.holders.keeper import Keeper
from ipos.agent.holders.neighbours import Neighbours, SeveralFronts
from ipos.agent.host import paths
from ipos.agent.host.links import Links
from ipos.agent.host.own_state import boottime_ns
from ipos.agent.host.routing import Routing
from ipos.agent.housekeeping import Housekeeping
from ipos.agent.http.agent_control import Reloads
from ipos.agent.http.readiness import Readiness, unready
from ipos.agent.loop.tasks import Tasks
from ipos.agent.network.untracked import TranslationWatch
from ipos.agent.on_demand.awaiting import Awaiting
from ipos.agent.on_demand.calls import Calls, process_started
from ipos.agent.on_demand.supervisor import Supervisor
from ipos.agent.reload import Reload
from ipos.agent.serving import Serving
from ipos.agent.sessions.row_store import RowStore, from_news
from ipos.agent.sessions.session_news import SessionNews
from ipos.agent.sessions.session_orders import SessionOrders, lifetimes
from ipos.agent.six_programs import SixPrograms
from ipos.agent.startup import Parts
from ipos.agent.update import Update
from ipos.agent.uplinks.outages import Outages
from ipos.agent.uplinks.watch import UplinkLinks
from ipos.agent.view.snapshot_file import SnapshotFile
from ipos.instance.process import has_systemd
from ipos.ip_family import address_of, fours
from ipos.kernel.libbpf.map_store import Map

log = structlog.get_logger()


@dataclass(slots=True)
class Assembly:
    """What the life of an agent calls."""

    beat: Beat
    exchange: Exchange
    serving: Serving
    departure: Departure
    prober: Prober
    jobs: list[Coroutine[None, None, None]]
    """They run until the agent ends."""


def assemble(stack: ExitStack, parts: Parts, reloads: Reloads, tasks: Tasks) -> Assembly:
    """Make all parts. stack: closes what they have opened."""
    undone = parts.undone
    stack.enter_context(parts.boxes)
    prober = stack.enter_context(Prober(parts.back.name, parts.config.farm.ethertype))
    port = stack.enter_context(Port(parts.back.name))
    expiry = stack.enter_context(_sweep(parts, port))
    links = _links(parts)
    stack.enter_context(links)
    outages = Outages(parts.config, parts.members, paths.uplinks_file(), tasks.spawn, parts.undone)
    silence = stack.enter_context(SilentClients(parts.pins, parts.tables))
    examiner = Examiner(parts.members, parts.datagram_keys, port.send, tasks, host(parts.file))
    keeper = _keeper(stack, parts, tasks)
    if isinstance(keeper, Keeper):
        keeper.why_out = outages.why
    emptying = stack.enter_context(
        Emptying(
            parts.maps, parts.tables, lambda: update.refresh(), keeper.holder,
            gives=parts.config.farm.locates_per_s > 0, containers=parts.boxes,
        )
    )  # fmt: skip
    snapshot = SnapshotFile(
        paths.snapshot_file(), parts.file, parts.config, parts.members, parts.rows,
        parts.observer, parts.own_programs, parts.checks, parts.decisions.counts, keeper,
        undone, tasks, outages.sentences,
    )  # fmt: skip
    supervisor = stack.enter_context(_supervisor(parts, tasks))
    cookies, sessions = _gossip(parts, port)
    serving = Serving(stack, parts, reloads, snapshot, examiner, sessions, supervisor, tasks)
    endpoints = stack.enter_context(_endpoints(parts, emptying))
    serving.migrate = endpoints.migrate
    exchange = Exchange(
        parts.config, parts.front, parts.back, parts.datagram_keys, port, prober,
        parts.members, parts.orders, parts.checks, parts.observer, parts.rows, expiry,
        cookies, sessions.news, parts.tables, Map.open(parts.maps / "heard"), keeper, emptying,
        examiner, supervisor,
    )  # fmt: skip
    routing = Routing(parts.network, undone, tasks.spawn)
    orders = OrderFile(parts.orders, undone, tasks)
    readiness = _readiness(stack, parts, serving)
    translation = stack.enter_context(TranslationWatch(parts.network.untrack, undone, tasks))
    housekeeping = Housekeeping(
        parts, emptying, readiness, translation, snapshot, serving.history, tasks
    )
    update = Update(
        exchange, parts.members, orders, parts.rows, routing, expiry, links, snapshot, keeper,
        housekeeping, supervisor, undone, tasks, ready=serving.announce, outages=outages,
    )  # fmt: skip
    parts.rows.why_not_six = SixPrograms(partial(_load_six, parts), tasks, boottime_ns).why_not
    supervisor.settled = lambda: update.settled
    reload = Reload(parts, reloads, supervisor, exchange, routing, snapshot, update, undone, tasks)
    parts.observer.search = tasks.in_thread
    parts.observer.farm_addresses = lambda: (
        frozenset(fours((*parts.config.server.addresses, *routing.foreign))), update.settled
    )  # fmt: skip
    beat = Beat(
        exchange, parts.members, orders, parts.rows, expiry, links, keeper, update, undone, tasks,
        reload.begin,
    )  # fmt: skip
    jobs = [expiry.run(), silence.run(), emptying.run(), parts.decisions.run(snapshot.now)]
    jobs += [supervisor.run(), endpoints.run()]
    return Assembly(beat, exchange, serving, Departure(emptying, keeper, tasks), prober, jobs)


def _load_six(parts: Parts) -> None:
    setup.extend(parts.config, parts.pins)
    setup.attach(parts.config, parts.pins, parts.front, parts.back)


def _supervisor(parts: Parts, tasks: Tasks) -> Supervisor:
    config, rows = parts.config, parts.rows
    made = Supervisor(
        config,
        paths.instances_file(),
        lambda service: paths.instance_cgroup(config.farm.name, config.server.name, service),
        parts.members,
        Awaiting(parts.pins, parts.tables, lambda: rows.slots),
        parts.trouble,
        parts.decided,
        Calls(config.server.name, paths.calls_file(), process_started, log.error),
        tasks,
        parts.undone,
        by_systemd=has_systemd() and paths.own_cgroup() is None,
    )
    parts.checks.starting = made.is_starting
    return made


def _endpoints(parts: Parts, emptying: Emptying) -> Endpoints:
    return Endpoints(
        paths.endpoints_socket(), parts.back.name, parts.tables, parts.members,
        parts.datagram_keys, lambda: parts.config, lambda: emptying.drains,
    )  # fmt: skip


def _sweep(parts: Parts, port: Port) -> Sweep:
    return Sweep(
        parts.maps,
        (parts.front.name, parts.back.name),
        parts.datagram_keys,
        port.send,
        timed_out=partial(_timed_out, parts),
        heard=lambda: parts.members.begun(parts.members.known_at(boottime_ns())),
        connections=parts.connections,
        found_again=parts.config.farm.announce != "none" and bool(parts.config.farm.locates_per_s),
        flows=IdleFlows(parts.maps),
        containers=parts.boxes,
    )


def _timed_out(parts: Parts, key: bytes, service: int) -> None:
    """A request head has not ended in time: that is a decision for the access log."""
    slots = parts.rows.slots
    name = slots[service] if service < len(slots) else ""
    parts.decisions.timed_out(key, service, name, parts.members.myself.index)


def _gossip(parts: Parts, port: Port) -> tuple[CookieGossip, SessionOrders]:
    cookies, key, me = Map.open(parts.maps / "cookies"), parts.datagram_keys, parts.members.me
    rows = RowStore(cookies)
    news = SessionNews(rows, key, me, port.send, time.time_ns())
    gossip = CookieGossip(
        cookies,
        Map.open(parts.maps / "cookie_news"),
        key,
        me,
        port.send,
        lambda key, row: news.note(from_news(key, row), boottime_ns()),
    )
    return gossip, SessionOrders(rows, news, lambda: lifetimes(parts.config))


def _keeper(stack: ExitStack, parts: Parts, tasks: Tasks) -> Keeper | Announcements:
    """Who holds the service addresses: servers by ARP, routers by BGP, or nobody changes it."""
    server = parts.config.server
    neighbours: Neighbours | SeveralFronts | None = None
    if parts.config.farm.announce == "bgp":
        return Announcements(
            parts.members,
            server.addresses,
            announcements.teller(parts.config),
            tasks.spawn,
            parts.undone,
            boottime_ns(),
        )
    if parts.config.farm.announce == "arp":
        if len(parts.fronts) > 1:
            config = parts.config
            neighbours = SeveralFronts(
                parts.fronts, lambda address: setup.front_name(config, address_of(address))
            )
        else:
            neighbours = Neighbours(parts.front, server.front_vlan)
        stack.enter_context(neighbours)
    return Keeper(
        parts.members, neighbours, parts.addresses_found, server.addresses, boottime_ns(),
        parts.config.uplink,
    )  # fmt: skip


def _links(parts: Parts) -> Links | UplinkLinks:
    server = parts.config.server
    if not parts.config.uplink:
        source = (*fours(server.addresses), IPv4Address(0))[0]
        return Links(parts.front, parts.back, source, server.front_vlan)
    links = UplinkLinks(parts.config.uplink, parts.fronts, parts.back)
    parts.observer.uplinks = lambda: {name: int(one) for name, one in links.faults.items()}
    return links


def _readiness(stack: ExitStack, parts: Parts, serving: Serving) -> Readiness:
    readiness = Readiness(
        paths.serving_file(),
        str(parts.members.me),
        lambda: unready(serving.recent_view()),
        parts.undone,
    )
    stack.callback(readiness.close)
    return readiness
