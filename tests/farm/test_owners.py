# SPDX-License-Identifier: Apache-2.0
"""One connection has one owner, on a machine that is as busy as it can be."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipos.lab import Lab, Settings, faults
from tests.support.farm import ANY, CONFIG, SERVERS, SPEAK_FIRST, Farm, grown, retransmissions

pytestmark = pytest.mark.farm

_CLIENT = Path(__file__).parent / "clients" / "posts.py"


@pytest.fixture(scope="module", params=["single", "one-lan"])
def busy_farm(request: pytest.FixtureRequest) -> Iterator[Farm]:
    name = f"ow{os.getpid()}{request.param[0]}"
    with Lab(Settings(name=name, config=CONFIG, topology=request.param)) as lab:
        farm = Farm(lab)
        farm.wait_idle()
        yield farm


def test_four_processes_post_as_fast_as_they_can(busy_farm: Farm) -> None:
    """Segments of one connection come in on both CPUs, and so do the frames of its migration."""
    before = busy_farm.all_counters()
    said = busy_farm.run("client1", sys.executable, str(_CLIENT), busy_farm.address("s1"),
                         f"{ANY}", "4", os.environ.get("IPOS_POSTS_SECONDS", "4"),
                         timeout_s=900)  # fmt: skip
    result = json.loads(said)
    assert result["wrong"] == {}
    assert result["answered"] > 500
    busy_farm.wait_idle()
    after = busy_farm.all_counters()
    changed = {server: grown(before[server], after[server]) for server in SERVERS}
    assert [counts.get("chosen_again", 0) for counts in changed.values()] == [0, 0, 0], changed
    adopted = sum(counts.get("adopted", 0) for counts in changed.values())
    assert adopted == result["answered"], changed
    assert [counts.get("ended_unseen", 0) for counts in changed.values()] == [0, 0, 0], changed


def test_an_application_that_has_just_died_delays_nobody(busy_farm: Farm) -> None:
    """Before the others know of it: its server refuses the SYN, which goes to another at once."""
    before = busy_farm.counters("s1")
    faults.stop_agent(busy_farm.lab, "s2")  # or it may tell them before the first client comes
    try:
        faults.kill_applications(busy_farm.lab, "s2")
        for _ in range(200):
            with busy_farm.connect(SPEAK_FIRST) as connection:
                assert connection.recv(100)
                assert retransmissions(connection) == 0
    finally:
        faults.continue_agent(busy_farm.lab, "s2")
        busy_farm.lab.start_applications("s2")
    assert grown(before, busy_farm.counters("s1"))["chosen_again"] > 0
