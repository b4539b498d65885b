# SPDX-License-Identifier: Apache-2.0
"""A router that hashes anew once a second for five minutes, while servers come and go."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Event, Thread

import pytest

from ipos.lab import faults
from tests.control.anycast import AnycastFarm, anycast_farm
from tests.control.busy_clients import Clients, clients, told
from tests.control.test_servers_die import Asked, asking
from tests.support.farm import SERVERS, grown, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.slow]
LASTS_S = 300
ROUND_S = 8
DYING_S = 1.5
"""Until a server without power is down for all others."""


@pytest.fixture
def farm() -> Iterator[AnycastFarm]:
    with anycast_farm(f"hash{os.getpid()}") as made:
        yield made


@dataclass(slots=True)
class Router:
    """Hashes anew once a second until `enough`."""

    farm: AnycastFarm
    enough: Event = field(default_factory=Event)
    times: int = 0

    def run(self) -> None:
        while not self.enough.wait(1.0):
            faults.rehash(self.farm.lab)
            self.times += 1


@dataclass(slots=True)
class Cuts:
    """When which server lost its power, and what was its own then."""

    at: list[float] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)

    def explain(self, asked: Asked) -> bool:
        """Whether a request may have been the lost server's."""
        return any(at - asked.took - DYING_S <= asked.at <= at + DYING_S for at in self.at)


def maintenance(farm: AnycastFarm, server: str) -> None:
    farm.run(server, "ipos", "server", "set", server, "maint")
    wait_until("withdrawn", lambda: server not in farm.hops(), 20)
    pause(ROUND_S / 2)
    farm.run(server, "ipos", "server", "set", server, "ready")


def drain(farm: AnycastFarm, server: str) -> None:
    farm.run(server, "ipos", "drain", server)
    wait_until("withdrawn", lambda: server not in farm.hops(), 20)
    pause(ROUND_S / 2)
    farm.run(server, "ipos", "server", "set", server, "ready")


def pause(seconds: float) -> None:
    until = time.monotonic() + seconds
    wait_until("some seconds", lambda: time.monotonic() > until, seconds + 10)


def come_and_go(
    farm: AnycastFarm, steps: list[Callable[[AnycastFarm, str], None]], load: Clients
) -> None:
    """One server after the other, each by another of the steps."""
    began, turn = time.monotonic(), 0
    while time.monotonic() - began < LASTS_S:
        steps[turn % len(steps)](farm, SERVERS[turn % 3])
        wait_until("all are back", lambda: farm.routed(*SERVERS) and farm.ready(), 40)
        load.ask_the_idle()
        turn += 1


@pytest.mark.parametrize("moves", [False, True], ids=["maintenance and power", "drained"])
def test_hashing_anew_all_the_time_breaks_no_connection(farm: AnycastFarm, moves: bool) -> None:
    cuts = Cuts()
    before = farm.all_counters()
    with ExitStack() as stack:
        new = stack.enter_context(asking(farm))
        load = stack.enter_context(
            clients(farm, keep_alive=15, idle=60, downloads=1, patience_s=30, moves=moves)
        )

        def power(farm: AnycastFarm, server: str) -> None:
            faults.cut_power(farm.lab, server)
            cuts.at.append(time.monotonic())
            pause(DYING_S)
            cuts.lost |= {id(one) for one in load.found if one.owner == server}
            wait_until("withdrawn", lambda: server not in farm.hops(), 20)
            pause(ROUND_S / 2)
            faults.restore_power(farm.lab, server)

        router = Router(farm)
        thread = Thread(target=router.run)
        thread.start()
        try:
            come_and_go(farm, [drain] if moves else [maintenance, maintenance, power], load)
        finally:
            router.enough.set()
            thread.join()
        load.ask_the_idle()
    grew = {one: grown(before[one], farm.counters(one)) for one in SERVERS}
    some = ("located", "locate_asked", "locate_nobody", "drop_locate_limit", "drop_locate_source")
    counted = {name: sum(one.get(name, 0) for one in grew.values()) for name in some}
    live = [one for one in load.found if id(one) not in cuts.lost]
    failed = [asked for asked in new if asked.error is not None]
    print(
        f"hashed anew {router.times} times; {len(live)} of {len(load.found)} connections with an "
        f"owner that lived, {sum(one.asked for one in live)} answers; {len(new)} new ones, "
        f"{len(failed)} of them while one lost its power; {counted}; longest waits: {told(live)}"
    )
    assert router.times > LASTS_S * 0.8
    assert len(live) >= len(load.found) / 5
    assert not [(one.kind, one.owner, one.error) for one in live if one.error]
    assert not [(one.at, one.error) for one in failed if not cuts.explain(one)]
