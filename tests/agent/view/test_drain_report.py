# SPDX-License-Identifier: Apache-2.0
"""What `ipos drain` tells, and whether a server may drain at all."""

import dataclasses

import msgspec
import pytest

from ipos.abi.rows import ServerState
from ipos.agent.heartbeat.message import Leaving
from ipos.agent.snapshot.snapshot import Held
from ipos.agent.view.drain_report import NoSuchReport, drain_report, only_server_of
from ipos.agent.view.rules_in_force import route_list
from ipos.agent.view.table_views import View, service_list
from ipos.cli.drain import _seconds, _sentence
from ipos.config.schema import Pool, Route
from ipos.config.slots import with_slots
from ipos.config.spawning import Spawn
from tests.agent.made_up_farm import config
from tests.agent.running import Running

LEAVING = Leaving(1_000, 0, 3, 20, 1, {"busy": 2, "opaque": 1}, forwards=7, unattached=9)


def view(running: Running, *others: str, leaving: Leaving | None = LEAVING) -> View:
    """With s2 in drain, and the others too."""
    for index, row in running.tables.servers.items():
        said = next(one for one in running.snapshot.servers if one.index == index)
        if said.server in ("s2", *others):
            drained = dataclasses.replace(row, state=ServerState.DRAIN)
            running.tables.servers.put(index, drained)
    servers = [
        msgspec.structs.replace(one, leaving=leaving if one.server == "s2" else None)
        for one in running.snapshot.servers
    ]
    held = [Held("203.0.113.2", "s2", "s2", 0, ""), Held("203.0.113.3", "s3", "s3", 0, "")]
    snapshot = msgspec.structs.replace(running.snapshot, servers=servers, addresses=held)
    return dataclasses.replace(running.view(), snapshot=snapshot)


def test_a_report() -> None:
    report = drain_report(view(Running()), "s2")
    assert report["left"] == {"busy": 2, "opaque": 1}
    assert (report["moved"], report["handed_back"], report["reset"]) == (3, 20, 1)
    assert (report["since"], report["deadline"], report["empty"]) == (1.0, None, False)
    assert _sentence(report) == (
        "s2: 3 moved, 20 handed back, 1 reset, 3 left (2 busy, 1 opaque); "
        "gives 7 on and holds 203.0.113.2"
    )


def test_before_it_has_looked_and_after_it_is_empty() -> None:
    report = drain_report(view(Running(), leaving=None), "s2")
    assert (report["left"], report["empty"]) == (None, False)
    assert "it has not looked yet" in _sentence(report)
    empty = msgspec.structs.replace(LEAVING, left={}, reset=0)
    report = drain_report(view(Running(), leaving=empty), "s2")
    assert report["empty"]
    assert "20 handed back, no connection left" in _sentence(report)


def test_of_whom_there_is_none() -> None:
    with pytest.raises(NoSuchReport, match="s1 does not drain: `ipos drain s1` orders it"):
        drain_report(view(Running()), "s1")
    with pytest.raises(NoSuchReport, match="no server is called s9; there are s1, s2, s3"):
        drain_report(view(Running()), "s9")


def test_the_last_server_of_a_service() -> None:
    running = Running()
    assert only_server_of(running.view(), "s3") == ""
    assert only_server_of(view(running, "s1"), "s3") == "service web"
    assert only_server_of(running.view(), "s9") == ""


def test_the_only_server_of_a_pool() -> None:
    running = Running(
        pool=(Pool(name="images", servers={"s2": 1}),),
        route=(Route(service="web", pool="images", path="/img/"),),
    )
    assert only_server_of(running.view(), "s2") == "pool images of service web"
    assert only_server_of(running.view(), "s3") == ""


def test_a_spawned_program_keeps_no_server_from_draining() -> None:
    running = Running(
        with_slots(config(spawn=[Spawn(name="w", command=["/w"], ports="20000-20000")])).service[1]
    )
    assert only_server_of(view(running, "s1"), "s3") == ""
    assert service_list(running.view())[0]["service"] == "w:20000"
    pool = running.tables.pools.get(0)
    assert pool is not None
    running.tables.pools.put(0, dataclasses.replace(pool, candidates=()))
    assert route_list(running.view()) == []
    assert service_list(running.view()) == [], "ports that nobody uses are not shown"


def test_times() -> None:
    assert [_seconds(text) for text in ("", "30", "30s", "5m", "1h")] == [0, 30, 30, 300, 3600]
