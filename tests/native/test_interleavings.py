# SPDX-License-Identifier: Apache-2.0
"""One connection has one owner, whichever CPU of whichever server goes on next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from tests.native.schedule import (
    ATTACHED,
    SIZES,
    Cluster,
    Connection,
    Ready,
    at_random,
    schedules,
)
from tests.support.golden import packets

RETRANSMISSION_NS = 300_000_000
POST = b"POST / HTTP/1.1\r\nHost: a.b\r\nContent-Length: 40\r\n\r\n"


@dataclass(frozen=True)
class Scenario:
    """What the client sends while all is permuted, and which servers may have it.

    sent: pieces by number, and pauses in nanoseconds. fails: by server, how many packets its TCP
    makes no socket of; deaf: servers whose application does not listen.
    """

    about: str
    pieces: Sequence[bytes]
    sent: Sequence[int]
    candidates: Sequence[int] = (2, 3)
    decide: str = "CONNECTION"
    fails: tuple[int, ...] = ()
    deaf: tuple[int, ...] = ()
    lost: bool = False  # nobody can serve it

    def __str__(self) -> str:
        return self.about


ONE = (packets.HEAD,)
TWO = (packets.HEAD[:20], packets.HEAD[20:])
BODY = (POST, b"x" * 20, b"y" * 20)
UPLOAD = (b"POST / HTTP/1.1\r\nHost: a.b\r\nTransfer-Encoding: chunked\r\n\r\n",
          *[b"3\r\nabc\r\n" * 4] * 4, b"0\r\n\r\n")  # fmt: skip
SCENARIOS = [
    Scenario("a request, sent twice", ONE, (0, 0)),
    Scenario("a request, sent twice, for the first server", ONE, (0, 0), (1, 2)),
    Scenario("a head in two segments, the last one twice", TWO, (0, 1, 1)),
    Scenario("a head in two segments, for the first server", TWO, (0, 1, 1), (1, 2)),
    Scenario("a body follows", BODY, (0, 1, 2)),
    Scenario("a body follows, for the first server", BODY, (0, 1, 2), (1, 2)),
    Scenario("a body follows, every request decided", BODY, (0, 1, 0, 2), decide="REQUEST"),
    Scenario("a body follows, for the first server, every request decided", BODY, (0, 1, 0, 2),
             (1, 2), decide="REQUEST"),
    Scenario("chunks follow, every request decided", UPLOAD, (0, 1, 2, 3, 4, 5), decide="REQUEST"),
    Scenario("chunks follow, for the first server, every request decided", UPLOAD,
             (0, 1, 2, 3, 4, 5), (1, 2), decide="REQUEST"),
    Scenario("the owner's kernel makes no socket", ONE, (0, 0), fails=(2,)),
    Scenario("the first server's kernel makes no socket", ONE, (0, 0, 0), (1, 2), fails=(1,)),
    Scenario("the owner refuses", ONE, (0, 0), deaf=(2,)),
    Scenario("all refuse, one by one", ONE, (0, 0), (2, 3), deaf=(2, 3), lost=True),
]  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.close()


def check(cluster: Cluster, scenario: Scenario, choose: Callable[[int], int]) -> None:
    """Run it by this schedule, let the client repeat what it misses, and look at what is left."""
    cluster.begin(scenario.candidates, scenario.decide)
    for index in scenario.deaf:
        cluster.hosts[index].machine.listen([])
    for index in scenario.fails:
        cluster.hosts[index].fails = 1
    client = Connection(cluster, scenario.pieces)
    client.open()
    cluster.steps.clear()
    client.say(*scenario.sent)
    cluster.run(choose)
    one_owner(cluster)
    repeat(cluster, client)
    if not (scenario.lost or any(host.accepted for host in cluster.hosts.values())):
        # All packets since came in on another CPU than the one whose kernel took none.
        cluster.reap()
        repeat(cluster, client)
    if scenario.lost:
        assert client.is_reset or client.is_closed
        return
    assert not client.is_reset, "the client was reset"
    (owner,) = (index for index, host in cluster.hosts.items() if host.accepted)
    assert bytes(cluster.hosts[owner].read) == client.request
    known = cluster.rows("local" if owner == 1 else "connect")
    assert {index: row["state"] for index, row in known.items()} == {owner: ATTACHED}
    assert cluster.hosts[owner].socket is not None
    forward = cluster.rows("forward")
    if owner == 1:
        assert not forward
    else:
        assert (forward[1]["server"], forward[1]["acknowledged"]) == (owner, 1)
    assert not cluster.rows("holding")
    for host in cluster.hosts.values():
        assert host.machine.node.store("hold_free").count() == SIZES["hold_pool"]


def repeat(cluster: Cluster, client: Connection) -> None:
    """The client sends what it misses, until it must have been heard."""
    for _ in range(8):
        cluster.wait(RETRANSMISSION_NS)
        client.repeat()
        cluster.settle()
        one_owner(cluster)


def one_owner(cluster: Cluster) -> None:
    accepted = [index for index, host in cluster.hosts.items() if host.accepted]
    assert len(accepted) <= 1, f"accepted by {accepted}"
    assert all(host.accepted <= 1 for host in cluster.hosts.values())
    for index, host in cluster.hosts.items():
        rows = [table[index]["state"] for table in map(cluster.rows, ("local", "connect"))
                if index in table]  # fmt: skip
        assert (host.socket is not None) == (ATTACHED in rows), f"s{index}: {rows}, {host.socket}"


def explore(cluster: Cluster, scenario: Scenario, deviations: int) -> int:
    """How many schedules hold; the first that does not is written out."""
    count = 0
    for schedule in schedules(deviations):
        try:
            check(cluster, scenario, schedule)
        except (AssertionError, ValueError) as error:
            steps = "\n  ".join(cluster.steps)
            raise AssertionError(
                f"{error}\nby the schedule {schedule.prefix}:\n  {steps}"
            ) from error
        count += 1
    return count


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_every_schedule_with_a_deviation(cluster: Cluster, scenario: Scenario) -> None:
    assert explore(cluster, scenario, 1) > 5


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_every_schedule_with_two_deviations(cluster: Cluster, scenario: Scenario) -> None:
    assert explore(cluster, scenario, 2) > 10


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_schedules_at_random(cluster: Cluster, scenario: Scenario) -> None:
    for seed in range(60):
        try:
            check(cluster, scenario, at_random(seed))
        except (AssertionError, ValueError) as error:
            steps = "\n  ".join(cluster.steps)
            raise AssertionError(f"{error}\nby seed {seed}:\n  {steps}") from error


def test_a_denial_that_is_older_than_the_acknowledgement(cluster: Cluster) -> None:
    """Segments overtake the offer on another CPU; what the owner says of them arrives last."""
    cluster.begin((2, 3))
    client = Connection(cluster, BODY)
    client.open()
    cluster.steps.clear()

    def rank(ready: Ready) -> int:
        denial, overtakes = "takes a frame of s2/1", "takes a frame of s1/1"
        if ready.what == "hears the client":
            first = len(cluster.client) == len(BODY)
            return 2 if ready.at == (1, 0 if first else 1) else 8
        return {(1, denial): 9, (2, overtakes): 0 if ready.at == (2, 1) else 8}.get(
            (ready.at[0], ready.what), 1 if ready.at[0] == 1 else 5 + 2 * ready.at[1]
        )

    def choose(_: int) -> int:
        ranks = [rank(ready) for ready in cluster.ready()]
        return ranks.index(min(ranks))

    client.say(0, 1, 2)
    cluster.run(choose)
    steps = cluster.steps
    assert steps.index("s2/1 takes a frame of s1/1") < steps.index("s2/0 takes a frame of s1/0")
    assert steps[-1].endswith("takes a frame of s2/1")
    assert cluster.rows("forward")[1]["acknowledged"] == 1
    one_owner(cluster)
    repeat(cluster, client)
    assert not client.is_reset
    assert bytes(cluster.hosts[2].read) == client.request
