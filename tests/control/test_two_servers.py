# SPDX-License-Identifier: Apache-2.0
"""A farm of two: who is left when the other one dies hears nobody, and looks at front."""

import os
import socket
import time
from collections.abc import Iterator

import pytest

from ipos.agent.heartbeat.member_faults import ALONE_NS
from ipos.lab import Lab, Settings, faults
from tests.control.test_addresses_move import first_success
from tests.control.test_servers_die import is_reset
from tests.support.farm import Farm, read_answer, request, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.alone]

CONFIG = """\
[[service]]
name = "web"
port = 80
slow_start_ms = 0
"""


@pytest.fixture(scope="module")
def two() -> Iterator[Farm]:
    with Lab(Settings(name=f"two{os.getpid()}", servers=2, config=CONFIG)) as lab:
        farm = Farm(lab)
        wait_until("both ready", farm.ready, 30)
        yield farm


def test_who_waits_for_the_other_one_is_told_soon_when_front_says_that_it_is_gone(
    two: Farm,
) -> None:
    waiting = with_s2(two)
    faults.cut_power(two.lab, "s2")
    began = time.monotonic()
    try:
        took = first_success(two, "s2", began)
        assert is_reset(waiting, began + ALONE_NS / 1e9), "it would take as long without front"
        print(f"address after {took:.2f} s, reset after {time.monotonic() - began:.2f} s")
    finally:
        faults.restore_power(two.lab, "s2")
        waiting.close()
    wait_until("both are well", two.ready, 30)


def with_s2(two: Farm) -> socket.socket:
    """A client of s1 that waits for a response of s2."""
    while True:
        connection = two.connect()
        connection.sendall(request(close=False))
        if read_answer(connection).served_by == "s2":
            connection.sendall(request("/slow/60", close=False))
            return connection
        connection.close()
