# SPDX-License-Identifier: Apache-2.0
"""Servers that announce one address: routers change their minds, and no connection notices."""

import json
import os
import time
from collections.abc import Iterator

import pytest

from ipos.lab import faults
from tests.control.anycast import AnycastFarm, anycast_farm
from tests.control.busy_clients import Client, Clients, clients, told
from tests.control.test_servers_die import asking
from tests.support.farm import SERVERS, grown, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.alone]
REHASHES = 6


@pytest.fixture(scope="module")
def farm() -> Iterator[AnycastFarm]:
    with anycast_farm(f"any{os.getpid()}") as made:
        yield made


def busy(load: Clients) -> list[Client]:
    return [one for one in load.found if one.kind == "keep-alive"]


def failures(load: Clients, *lost: str) -> list[tuple[str, str, str]]:
    """What became of those whose owner lives."""
    kept = [one for one in load.found if one.owner not in lost]
    return [(one.kind, one.owner, one.error) for one in kept if one.error]


def go_on(load: Clients, by: int = 5) -> None:
    """Every keep-alive client has had some more answers, or has failed."""
    before = {id(one): one.asked for one in busy(load)}
    wait_until(
        "they go on",
        lambda: all(one.error or one.asked >= before[id(one)] + by for one in busy(load)),
        30,
    )


def announced(farm: AnycastFarm, by: str) -> dict[str, str | None]:
    """What `ipos address list` of a server says of the address that all have: server -> why."""
    rows = json.loads(farm.run(by, "ipos", "address", "list", "-o", "json"))
    return {row["server"]: row["why"] for row in rows if row["address"] == farm.address(by)}


def test_a_router_that_hashes_anew_breaks_no_connection(farm: AnycastFarm) -> None:
    before = farm.all_counters()
    with asking(farm) as new, clients(farm, keep_alive=6, idle=10, downloads=1) as load:
        go_on(load)
        for _ in range(REHASHES):
            farm.run("client1", "ipos", "lab", "fault", "rehash", "--name", farm.lab.name)
            go_on(load)
            load.ask_the_idle()
        wait_until("new ones", lambda: len(new) > 50, 30)
    located = sum(grown(before[one], farm.counters(one)).get("located", 0) for one in SERVERS)
    print(f"located {located} of {len(load.found)} connections; longest waits: {told(load.found)}")
    assert not failures(load)
    assert not [one.error for one in new if one.error is not None]
    assert located >= len(load.found) / 3, "nothing was hashed anew"


def test_a_server_in_maintenance_is_withdrawn_and_its_connections_go_on(farm: AnycastFarm) -> None:
    with asking(farm) as new, clients(farm, keep_alive=4, idle=5, downloads=1) as load:
        go_on(load)
        farm.run("s2", "ipos", "server", "set", "s1", "maint")
        try:
            wait_until("it is withdrawn", lambda: farm.routed("s2", "s3"), 10)
            assert announced(farm, "s2") == {
                "s1": "s1 is in maintenance",
                "s2": "it announces it",
                "s3": "it announces it",
            }
            go_on(load)
            load.ask_the_idle()
        finally:
            farm.run("s2", "ipos", "server", "set", "s1", "ready")
        wait_until("it is back", lambda: farm.routed(*SERVERS), 10)
        go_on(load)
        load.ask_the_idle()
    assert not failures(load)
    assert not [one.error for one in new if one.error is not None]
    wait_until("all is well", farm.ready, 30)


def test_a_server_without_power_takes_only_its_own_connections(farm: AnycastFarm) -> None:
    with clients(farm, keep_alive=6, idle=10, downloads=1) as load:
        go_on(load)
        faults.cut_power(farm.lab, "s3")
        cut = time.monotonic()
        try:
            wait_until("it is withdrawn", lambda: farm.routed("s1", "s2"), 20)
            took = time.monotonic() - cut
            go_on(load)
            load.ask_the_idle()
            with asking(farm) as new:
                wait_until("new ones", lambda: len(new) > 20, 20)
        finally:
            faults.restore_power(farm.lab, "s3")
        wait_until("it is back", lambda: farm.routed(*SERVERS), 30)
        go_on(load)
    kept = [one for one in load.found if one.owner != "s3"]
    print(f"routes gone after {took:.1f} s; longest waits of the others': {told(kept)}")
    assert not failures(load, "s3")
    assert not [one.error for one in new if one.error is not None]
    wait_until("all is well", farm.ready, 30)


@pytest.mark.slow
def test_a_detached_server_withdraws_first(farm: AnycastFarm) -> None:
    with asking(farm) as new:
        wait_until("requests", lambda: len(new) > 20, 20)
        faults.kill_agent(farm.lab, "s2")
        assert farm.routed(*SERVERS), "its data plane serves"
        try:
            farm.run("s2", "ipos", "detach")
            assert farm.routed("s1", "s3")
            now = len(new)
            wait_until("requests", lambda: len(new) > now + 50, 20)
        finally:
            farm.lab.start_agent("s2")
        wait_until("it is back", lambda: farm.routed(*SERVERS), 20)
    vars(farm).pop("tables", None)  # the maps of s2 are others now
    late = [one for one in new[now:] if one.error is not None]
    assert not late
    wait_until("all is well", farm.ready, 30)


@pytest.mark.slow
def test_a_bird_that_does_not_answer_is_one_sentence_and_no_more(farm: AnycastFarm) -> None:
    socket = farm.lab.place("s1").run_dir / "bird.ctl"
    aside = socket.with_suffix(".aside")
    socket.rename(aside)
    try:
        farm.run("s1", "ipos", "server", "set", "s1", "maint")
        wait_until("it is said", lambda: "routers are not told" in undone(farm), 10)
        assert farm.routed(*SERVERS)
    finally:
        aside.rename(socket)
    wait_until("it is withdrawn", lambda: farm.routed("s2", "s3"), 10)
    assert undone(farm) == ""
    farm.run("s1", "ipos", "server", "set", "s1", "ready")
    wait_until("all is well", lambda: farm.ready() and farm.routed(*SERVERS), 30)


def undone(farm: AnycastFarm) -> str:
    document = json.loads(farm.run("s1", "ipos", "status", "-o", "json"))
    return "; ".join(document["undone"])
