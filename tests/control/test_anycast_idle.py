# SPDX-License-Identifier: Apache-2.0
"""Idle connections that wait without an application, while routers send their next requests to any
server.
"""

import os
import signal
from collections.abc import Iterator

import pytest

from ipos.lab import faults
from tests.control.anycast import AnycastFarm, anycast_farm
from tests.control.busy_clients import clients, told
from tests.control.test_servers_die import asking
from tests.farm.test_leaving import end
from tests.support.farm import SERVERS, grown, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.slow]
CONFIG = """\
[server]
on_stop = "leave"
leave_timeout_s = 20

[[service]]
name = "web"
port = 80
mode = "http"
decide = "request"
slow_start_ms = 0
"""
IDLE = 40


@pytest.fixture(scope="module")
def farm() -> Iterator[AnycastFarm]:
    with anycast_farm(f"idle{os.getpid()}", CONFIG) as made:
        yield made
        for server in SERVERS:
            end(made.lab, server, signal.SIGINT)


@pytest.mark.parametrize("server", SERVERS)
def test_idle_connections_of_a_drained_server_are_found_wherever_they_wait(
    farm: AnycastFarm, server: str
) -> None:
    before = farm.all_counters()
    with clients(farm, keep_alive=2, idle=IDLE, downloads=0, moves=True) as load:
        drained = [one for one in load.found if one.kind == "idle" and one.owner == server]
        assert drained
        for _ in range(3):
            faults.rehash(farm.lab)
            load.ask_the_idle()
        farm.run(server, "ipos", "drain", server)
        try:
            wait_until("it is withdrawn", lambda: server not in farm.hops(), 20)
            wait_until("it has lost them", lambda: not owned(farm, server), 20)
            for _ in range(3):
                faults.rehash(farm.lab)
                load.ask_the_idle()
            assert server not in {one.owner for one in load.found if not one.error}
        finally:
            farm.run(server, "ipos", "server", "set", server, "ready")
        wait_until("it is back", lambda: farm.routed(*SERVERS) and farm.ready(), 30)
        faults.rehash(farm.lab)
        load.ask_the_idle()
    grew = {one: grown(before[one], farm.counters(one)) for one in SERVERS}
    some = ("handed_back", "moved", "located", "locate_answered", "locate_nobody", "rst_sent")
    counted = {name: sum(one.get(name, 0) for one in grew.values()) for name in some}
    print(f"{server}: {told(load.found)}; {counted}")
    assert not [(one.kind, one.owner, one.error) for one in load.found if one.error], grew


def test_agents_that_leave_one_after_the_other_withdraw_first(farm: AnycastFarm) -> None:
    with (
        asking(farm) as new,
        clients(farm, keep_alive=2, idle=10, downloads=0, moves=True) as load,
    ):
        for server in SERVERS:
            end(farm.lab, server)
            assert server not in farm.hops()
            load.ask_the_idle()
            farm.lab.start_agent(server)
            wait_until("it is back", lambda: farm.routed(*SERVERS) and farm.ready(), 30)
            load.ask_the_idle()
    assert not [(one.kind, one.owner, one.error) for one in load.found if one.error]
    assert len(new) > 20
    assert not [one.error for one in new if one.error is not None]


def owned(farm: AnycastFarm, server: str) -> int:
    rows = farm.rows(server, ("local", "connect"))
    return sum(rows.values())
