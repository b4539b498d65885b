# SPDX-License-Identifier: Apache-2.0
"""From a configuration to a data plane that serves, and the parts that an agent works with.

A start keeps what it finds: the maps and programs of an earlier agent stay as they are, and the
rows of other servers are removed only after those had time to send a state.
"""

import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from ipos.abi.families import AnyAddressKey
from ipos.abi.rows import Address
from ipos.agent import setup
from ipos.agent.access.decision_log import DecisionLog
from ipos.agent.heartbeat import orders
from ipos.agent.heartbeat.datagram_tags import StateKeys
from ipos.agent.heartbeat.membership import Members
from ipos.agent.host import paths
from ipos.agent.host.boxes import Boxes, Look
from ipos.agent.host.health_checks import Checks
from ipos.agent.host.own_state import Observer, boottime_ns
from ipos.agent.host.socket_count import Connections
from ipos.agent.loop.undone import Undone
from ipos.agent.network import own_pair
from ipos.agent.network.interfaces import Interface, Network, interface
from ipos.agent.network.seen_sockets import SeenSockets
from ipos.agent.network.wired_namespaces import Seat
from ipos.agent.rows.clock import WallClock
from ipos.agent.rows.convergence import Convergence
from ipos.agent.snapshot import snapshot
from ipos.agent.snapshot.snapshot import Snapshot
from ipos.agent.view.own_programs import OwnPrograms
from ipos.config.crosscheck import read_secret, secret_path
from ipos.config.listener import Listener
from ipos.config.schema import Config
from ipos.errors import IposError
from ipos.handshake.keys import KeyRing, key_ring
from ipos.ip_family import fours, sixes
from ipos.kernel import data_plane
from ipos.kernel.libbpf.map_store import Map
from ipos.kernel.maps import Tables
from ipos.kernel.pins import pin_directory, take_over_earlier

log = structlog.get_logger()


@dataclass(slots=True)
class Parts:
    """What a started agent works with. A reload changes `config` and `keys`."""

    config: Config
    file: Path
    keys: KeyRing
    datagram_keys: StateKeys
    pins: Path
    lock: int
    """The descriptor that makes this agent the only one of its run directory."""
    tables: Tables
    front: Interface
    fronts: list[Interface]
    """All interfaces towards clients: `front` and those of other uplinks."""
    back: Interface
    network: Network
    members: Members
    orders: orders.Kept
    checks: Checks
    connections: Connections
    decisions: DecisionLog
    rows: Convergence
    recalled_ns: int
    """When the members of an earlier agent were taken over."""
    clock: WallClock
    observer: Observer
    own_programs: OwnPrograms
    boxes: Boxes
    addresses_found: dict[AnyAddressKey, Address]
    """Rows of `addresses` that an agent before this one has left."""
    undone: Undone = field(default_factory=Undone)

    @property
    def maps(self) -> Path:
        return self.pins / "maps"

    def trouble(self, service: str) -> str | None:
        """Why a service's application does not serve here; "" when it does, None: nobody knows."""
        if not self.observer.is_served(service):
            return None
        return "" if self.checks.well(service) else self.checks.states().get(service)

    def decided(self, service: str) -> int:
        """How many requests of it this server's data plane has decided."""
        slots = self.rows.slots
        index = slots.index(service) if service in slots else None
        return 0 if index is None else sum(self.tables.tallies.service(index).decided)


def start(config: Config, file: Path) -> Parts:
    """Set up network, data plane, rows and hooks. IposError says what is in the way."""
    keys = key_ring(read_secret(secret_path(config, file)), config.farm.name)
    pins = pin_directory(config.farm.name, config.server.name)
    lock = paths.lock_agent()
    take_over_earlier(config.farm.name, config.server.name)
    with suppress(OSError):  # a read-only file system: who makes the file reports it
        paths.ready_file().unlink(missing_ok=True)
    server = config.server
    front, back = interface(server.front), interface(server.back)
    me = setup.my_back_address(config, back)
    fronts = setup.fronts(config, front)
    data_plane.expect_free(pins, (*(one.index for one in fronts), back.index))
    network = Network(paths.changes_file(), log.error)
    datagram_keys = StateKeys(*setup.state_keys(keys))
    members = Members(config.farm.name, datagram_keys, me, config.farm.discover)
    with ExitStack() as loaded:
        if not data_plane.is_loaded(pins):
            loaded.callback(_undo, network, front, back)
            setup.prepare(config, network, front, back, attached=False)
            six = bool(sixes(server.addresses))
            objects = data_plane.objects_directory()
            data_plane.load(objects, pins, setup.sizes(config), six=six)
            loaded.callback(data_plane.detach, pins)  # if attaching it fails
        else:
            setup.prepare(config, network, front, back, attached=False)
            if sixes(server.addresses):
                setup.extend(config, pins)
        parts = _serve(config, file, keys, datagram_keys, pins, lock, front, back, network, members)
        setup.prepare(config, network, front, back)
        loaded.pop_all()
    return parts


def _undo(network: Network, front: Interface, back: Interface) -> None:
    """After a start that has failed, which says why: what was changed for it is changed back."""
    with suppress(IposError):
        network.restore(front.name, back.name)


def _serve(
    config: Config,
    file: Path,
    keys: KeyRing,
    datagram_keys: StateKeys,
    pins: Path,
    lock: int,
    front: Interface,
    back: Interface,
    network: Network,
    members: Members,
) -> Parts:
    """Write the first rows of a loaded data plane, then attach it."""
    setup.compare_programs(pins)
    tables = Tables(pins / "maps")
    setup.expect_keys(tables, keys, secret_path(config, file))
    setup.say_notes(config)
    kept = orders.Kept(paths.orders_file())
    before = snapshot.take(paths.snapshot_file(), log.error)
    recalled_ns = boottime_ns()
    traffic = Map.open(pins / "maps" / "traffic")
    connections = Connections(pins / "maps")
    list(connections.steps(boottime_ns()))
    boot = time.time_ns() // 1_000_000
    seen = SeenSockets(paths.sockops_cgroup())
    rows = Convergence(config, tables, traffic, members, before, recalled_ns)
    me = members.myself.index  # known since `rows` took over the servers' numbers
    parts = Parts(
        config=config,
        file=file,
        keys=keys,
        datagram_keys=datagram_keys,
        pins=pins,
        lock=lock,
        tables=tables,
        front=front,
        fronts=(fronts := setup.fronts(config, front)),
        back=back,
        network=network,
        members=members,
        orders=kept,
        checks=Checks(_well_before(before, tables, config.server.name, me)),
        connections=connections,
        decisions=DecisionLog(config, tables, pins / "maps"),
        rows=rows,
        recalled_ns=recalled_ns,
        clock=WallClock(
            tables, keys, front, back, me, setup.uplink_rows(config, fronts), int(members.me)
        ),
        observer=Observer(
            config, connections.now, members.me, back.mac, paths.own_cgroup(), boot, seen
        ),
        own_programs=OwnPrograms(tables),
        boxes=Boxes(
            pins,
            frozenset((*(one.index for one in fronts), back.index, *own_pair.indices())),
            seen,
        ),
        addresses_found=_addresses_found(tables),
    )
    parts.clock.keep(config, watched=False)
    _look_into_boxes(parts)
    # How long a start takes says nothing of those whom an agent before this one has heard.
    now_ns = boottime_ns()
    members.slept(now_ns - parts.recalled_ns, now_ns)
    parts.recalled_ns = now_ns
    parts.rows.converge(now_ns, prune=False, opening=True)
    setup.attach(config, pins, front, back)
    return parts


def _addresses_found(tables: Tables) -> dict[AnyAddressKey, Address]:
    """The rows of both families that an agent before this one has written."""
    found: dict[AnyAddressKey, Address] = dict(tables.addresses.items())
    return found | dict(tables.six.addresses.items()) if tables.has_six else found


def _look_into_boxes(parts: Parts) -> None:
    """Before the first state is sent: an agent before this one may have prepared containers."""
    parts.rows.boxed = lambda: parts.observer.places
    parts.rows.listeners6 = lambda: parts.observer.listeners6
    parts.rows.allow_boxes = parts.clock.allow_boxes
    parts.observer.boxes = parts.boxes
    parts.checks.inside = lambda service: _inside(parts, service)
    known = {key.ip for key in parts.addresses_found}
    addresses = frozenset(fours((*parts.config.server.addresses, *known)))
    if parts.boxes.begin(boottime_ns()):
        parts.boxes.look(Look(parts.config, addresses, prune=False))


def _inside(parts: Parts, service: str) -> tuple[Listener, Seat] | None:
    """Where an application in a container listens, and where the container is entered."""
    socket = parts.observer.places.get(service)
    seat = parts.boxes.seat(socket.box.index) if socket is not None and socket.box else None
    return None if socket is None or seat is None else (Listener(socket.ip, socket.port), seat)


def _well_before(before: Snapshot, tables: Tables, server: str, index: int) -> set[str]:
    """Services whose application an agent before this one has found well.

    It wrote the maps first and the snapshot after them, and may have died between the two.
    """
    well = set(before.services_of(server))
    for slot, name in enumerate(before.services):
        row = tables.services.get(slot)
        pool = tables.pools.get(row.listening) if row and row.used else None
        if name and pool and any(one.server == index for one in pool.candidates):
            well.add(name)
    return well
