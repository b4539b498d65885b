# SPDX-License-Identifier: Apache-2.0
"""What is done outside of a beat by an agent that had no CPU: nobody is taken for dead by it."""

from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import pytest

from ipos.agent import update
from ipos.agent.heartbeat.member import Age
from ipos.agent.heartbeat.member_faults import Fault
from ipos.agent.update import Update
from tests.agent.made_up_farm import MS, NOW_NS, back, datagram, members

LATE_NS = NOW_NS + 700 * MS


def attempt(step: Callable[[], object]) -> str:
    step()
    return ""


@pytest.mark.parametrize(("listened_ns", "age"), [(NOW_NS, Age.FRESH), (LATE_NS, Age.DOWN)])
def test_a_reload_of_an_agent_that_has_not_listened_takes_nobody_for_dead(
    monkeypatch: pytest.MonkeyPatch, listened_ns: int, age: Age
) -> None:
    farm = members()
    for number in (2, 3):
        assert farm.receive(datagram(number), int(back(number)), NOW_NS, 1_700_000_000_000)
    farm.listened_ns = listened_ns
    monkeypatch.setattr(update, "boottime_ns", lambda: LATE_NS)
    parts: dict[str, Any] = {
        name: MagicMock() for name in Update.__init__.__annotations__ if name != "return"
    }
    parts["members"] = farm
    parts["tasks"].attempt = attempt
    parts["links"].look.return_value = Fault.NONE
    Update(**parts).follow_now()
    (written_ns,), _ = parts["rows"].converge.call_args
    assert farm.by_ip[back(2)].age(written_ns) is age
