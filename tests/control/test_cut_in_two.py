# SPDX-License-Identifier: Apache-2.0
"""Back is cut in two and front is whole: each half serves, and keeps what is its own."""

import time
from contextlib import ExitStack
from itertools import groupby

import pytest

from ipos.lab import faults
from tests.control.busy_clients import clients, told
from tests.control.test_addresses_move import QUESTION_S, Answers, neighbour
from tests.control.test_connections_found import asking_on
from tests.control.test_servers_die import asking
from tests.support.farm import SERVERS, Farm, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.alone, pytest.mark.slow]
CUT_S = 12
HEALED_S = 5.0
DUEL_S = 1.0
KNOWN_S = 1.5
"""So long a half may send requests to the other, which cannot come there."""


@pytest.mark.parametrize("alone", SERVERS)
def test_each_half_serves_and_loses_nothing_of_its_own(farm: Farm, alone: str) -> None:
    half = {server: server == alone for server in SERVERS}
    with ExitStack() as stack:
        answers = {
            server: stack.enter_context(neighbour(farm, farm.address(server))) for server in SERVERS
        }
        load = stack.enter_context(clients(farm, keep_alive=6, idle=20, downloads=1))
        wait_until("they are busy", lambda: all(one.asked > 20 for one in asking_on(load)), 30)
        kept = [one for one in load.found if half[one.first] == half[one.owner]]
        assert {one.first for one in kept} == set(SERVERS)
        faults.set_loss(farm.lab, 100, [(alone, "back")])
        cut = time.monotonic()
        try:
            wait_until("it is known", lambda: time.monotonic() > cut + KNOWN_S)
            with ExitStack() as asks:
                new = [asks.enter_context(asking(farm, server)) for server in SERVERS]
                wait_until("its time is over", lambda: time.monotonic() > cut + CUT_S, 30)
        finally:
            faults.set_loss(farm.lab, 0)
        healed = time.monotonic()
        wait_until("all know all", farm.ready, 20)
        took = time.monotonic() - healed
        load.ask_the_idle()
    failed = [(one.kind, one.first, one.owner, one.error) for one in kept if one.error]
    longest = {server: duel_s(one) for server, one in answers.items()}
    print(
        f"{alone} alone for {CUT_S} s: healed after {took:.1f} s, new requests "
        f"{[len(some) for some in new]}, longest waits in one half: {told(kept)}, two answers "
        f"for {longest} s"
    )
    assert not failed
    for server, some in zip(SERVERS, new, strict=True):
        assert len(some) > 20, server
        assert not [one for one in some if one.error is not None], server
    assert took < HEALED_S
    assert max(longest.values()) < DUEL_S


def duel_s(answers: Answers) -> float:
    """The longest time in which two servers answered each question about one address."""
    twice = [len(answers.macs.get(nth, ())) > 1 for nth in range(answers.asked)]
    runs = [len(list(run)) for both, run in groupby(twice) if both]
    return max(runs, default=0) * QUESTION_S
