# SPDX-License-Identifier: Apache-2.0
"""No herding: servers that read the same old rows do not all run to the same server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest

from ipos.selection.policies import Policy
from tests.native.herd import POOL, Herd

SPREADING = [Policy.LEAST_LOADED, Policy.LEAST_CONNECTIONS, Policy.LEAST_CPU, Policy.WEIGHTED]
MakeHerd = Callable[..., Herd]


@pytest.fixture
def make_herd() -> Iterator[MakeHerd]:
    made: list[Herd] = []

    def make(*arguments: object, **options: object) -> Herd:
        made.append(Herd(*arguments, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for herd in made:
        herd.close()


def settled(herd: Herd) -> float:
    """How much more than its part the busiest server had, 1 for none, over two seconds."""
    herd.run(1.5)
    herd.busiest.clear()
    herd.run(2)
    return sum(most / mean for mean, most in herd.busiest) / len(herd.busiest)


@pytest.mark.parametrize("policy", SPREADING)
def test_eight_first_servers_spread_what_they_send(make_herd: MakeHerd, policy: Policy) -> None:
    herd = make_herd(policy, 8, rate=4000, stay_s=0.1, work_s=0.004)
    limit = 1.1 if policy is Policy.LEAST_CONNECTIONS else 1.4
    assert settled(herd) < limit
    assert max(herd.served.values()) < 1.1 * sum(herd.served.values()) / 8


@pytest.mark.parametrize("policy", SPREADING)
def test_requests_shorter_than_rows_are_old_are_spread_in_time_too(
    make_herd: MakeHerd, policy: Policy
) -> None:
    at_random = settled(make_herd(Policy.RANDOM, 8, rate=4000, stay_s=0.005, work_s=0.004))
    assert settled(make_herd(policy, 8, rate=4000, stay_s=0.005, work_s=0.004)) < 1.6 * at_random


def test_a_first_server_reckons_with_the_others(make_herd: MakeHerd) -> None:
    """Without it, eight of them fill the same gap eight times."""
    herd = make_herd(Policy.LEAST_CONNECTIONS, 8, rate=4000, stay_s=0.1, work_s=0.004)
    for first in herd.firsts:
        row = first.node.table("pools")[POOL]
        first.node.table("pools")[POOL] = {**row, "firsts": 1}
    assert settled(herd) > 1.6


@pytest.mark.parametrize("policy", [Policy.LEAST_LOADED, Policy.LEAST_CPU])
@pytest.mark.parametrize(
    ("rate", "stay_s", "work_s"),
    [(500, 0.004, 0.002), (2000, 0.004, 0.004), (1500, 0.05, 0.004), (400, 0.3, 0.002)],
)
def test_a_cpu_hog_is_left_alone_within_a_second_and_found_again_within_two(
    make_herd: MakeHerd, policy: Policy, rate: float, stay_s: float, work_s: float
) -> None:
    herd = make_herd(policy, 3, rate, stay_s, work_s)
    herd.run(2)
    herd.servers[2].hog = 0.99
    herd.run(0.6)
    assert share(herd, 3, 0.4) < 0.1
    assert share(herd, 3, 2) < 0.1
    herd.servers[2].hog = 0
    herd.run(1)
    assert share(herd, 3, 1) > 0.2


def share(herd: Herd, server: int, seconds: float) -> float:
    served = herd.run(seconds)
    return served[server] / sum(served.values())


def test_least_loaded_starves_no_idle_server(make_herd: MakeHerd) -> None:
    """A CPU below half has no price, so small differences decide nothing."""
    herd = make_herd(Policy.LEAST_LOADED, 3, rate=500, stay_s=0.002, work_s=0.001)
    herd.servers[2].hog = 0.3
    herd.run(1)
    assert share(herd, 3, 2) > 0.28


@pytest.mark.parametrize("policy", [Policy.LEAST_LOADED, Policy.LEAST_CPU])
def test_what_applications_have_given_back_comes_to_the_server_that_has_least(
    make_herd: MakeHerd, policy: Policy
) -> None:
    herd = make_herd(policy, 4, rate=1, stay_s=1, work_s=0)
    node = herd.firsts[0].node
    for server, connections in enumerate((900, 900, 900, 0), 1):
        row = node.table("servers")[server]
        busy = {"tcp_connections": connections, "cpu_permille": connections // 2}
        node.table("servers")[server] = {**row, **busy}
    last = 4
    client, numbers = IPv4Address("192.0.2.1"), [herd.rng.getrandbits(64) for _ in range(100)]
    drawn = [node.choose(POOL, client, number)[0] for number in numbers]
    assert 30 < drawn.count(last) < 70, "of two at random it is one in half of all cases"
    given = [node.choose(POOL, client, number, returned=True)[0] for number in numbers]
    assert given.count(last) == len(numbers)
