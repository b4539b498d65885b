# SPDX-License-Identifier: Apache-2.0
"""Connections whose first server dies, and comes back: who owns them still has them."""

import os
import time
from collections.abc import Iterator

import pytest

from ipos.lab import Lab, Settings, faults
from tests.control.busy_clients import Client, Clients, clients, told
from tests.control.conftest import CONFIG
from tests.control.test_addresses_move import at_another, first_success, holders
from tests.control.test_servers_die import asking
from tests.support.farm import SERVERS, Farm, grown, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.alone]


@pytest.fixture(scope="module")
def one_lan() -> Iterator[Farm]:
    settings = Settings(name=f"found{os.getpid()}", config=CONFIG, topology="one-lan")
    with Lab(settings) as lab:
        farm = Farm(lab)
        wait_until("every server ready", farm.ready, 30)
        yield farm


_RESETS = (
    "rst_sent", "locate_nobody", "owner_lost", "drop_owner_down", "ghosts_ended", "forgotten",
    "located", "locate_asked", "locate_answered", "drop_frame_locate",
)  # fmt: skip


def cut(farm: Farm, dead: str, away_s: float) -> None:
    others = [one for one in SERVERS if one != dead]
    before = farm.all_counters()
    with clients(farm, keep_alive=6, idle=20, downloads=1) as load:
        wait_until("they are busy", lambda: all(one.asked > 20 for one in asking_on(load)), 30)
        kept = load.of(*others)
        by_the_dead = [one for one in kept if one.first == dead]
        assert {"keep-alive", "idle"} <= {one.kind for one in by_the_dead}
        faults.cut_power(farm.lab, dead)
        began = time.monotonic()
        try:
            took = first_success(farm, dead, began)
            (holder,) = wait_until("its row", lambda: at_another(farm, farm.address(dead), dead))
            load.ask_the_idle()
            asked = {id(one): one.asked for one in asking_on(load)}
            wait_until("its time is over", lambda: time.monotonic() > began + away_s, away_s + 20)
            with asking(farm, dead) as new:
                wait_until("new ones are served", lambda: len(new) > 20, 20)
            assert not [one for one in new if one.error is not None]
        finally:
            faults.restore_power(farm.lab, dead)
        back = time.monotonic()
        wait_until("it is back", lambda: holders(farm, farm.address(dead)) == [dead], 20)
        returned = time.monotonic() - back
        wait_until("it has been back for a while", lambda: time.monotonic() > back + 3)
        load.ask_the_idle()
    failed = [(one.kind, one.first, one.owner, one.error) for one in kept if one.error]
    grew = {one: grown(before[one], farm.counters(one)) for one in SERVERS}
    print(
        f"{dead} away for {away_s:.0f} s: its address is served after {took:.2f} s and back after "
        f"{returned:.2f} s; longest waits of those that the others own: {told(kept)}; by {dead}: "
        f"{told(by_the_dead)}; located {sum(one.get('located', 0) for one in grew.values())}"
    )
    resets = {one: {name: n for name, n in grew[one].items() if name in _RESETS} for one in SERVERS}
    assert not failed, resets
    assert all(one.asked > asked[id(one)] for one in asking_on(load) if one in kept)
    elsewhere = [one for one in by_the_dead if one.owner != holder]
    assert grew[holder]["located"] >= len(elsewhere), "the others came to their owner directly"
    assert not any(one.get("ghosts_ended", 0) for name, one in grew.items() if name != dead)
    wait_until("all is well", farm.ready, 30)


def asking_on(load: Clients) -> list[Client]:
    return [one for one in load.found if one.kind == "keep-alive"]


@pytest.mark.parametrize("dead", SERVERS)
def test_a_first_server_without_power_takes_none_of_the_others_connections(
    farm: Farm, dead: str
) -> None:
    cut(farm, dead, 3)


def test_the_same_where_clients_and_servers_share_one_lan(one_lan: Farm) -> None:
    """A question is a broadcast there, too."""
    cut(one_lan, "s2", 3)
