# SPDX-License-Identifier: Apache-2.0
"""Endpoints whose application names no server go to one that is up and ready."""

from types import SimpleNamespace
from typing import Any

import pytest

from ipos.abi.rows import ServerState
from ipos.agent.endpoints.destination import anywhere
from ipos.agent.endpoints.tcp_repair import Unmovable
from ipos.agent.heartbeat.member import Age


def member(name: str, state: ServerState, *, age: Age = Age.FRESH, serves: bool = True) -> Any:
    said = SimpleNamespace(server=name, state=int(state))
    return SimpleNamespace(state=said, serves=serves, age=lambda now_ns: age)


def unfit() -> list[Any]:
    return [
        member("down", ServerState.READY, age=Age.DOWN),
        member("drains", ServerState.DRAIN),
        member("maintained", ServerState.MAINT),
        member("refused", ServerState.READY, serves=False),
        SimpleNamespace(state=None, serves=True, age=lambda now_ns: Age.FRESH),
    ]


def test_every_server_that_is_ready_is_drawn_and_no_other() -> None:
    ready = [member(name, ServerState.READY) for name in ("s2", "s3")]
    drawn = {anywhere([*unfit(), *ready], 0).state.server for _ in range(200)}  # type: ignore[union-attr]
    assert drawn == {"s2", "s3"}


def test_an_endpoint_stays_where_no_other_server_is_ready() -> None:
    with pytest.raises(Unmovable, match="no other server is ready"):
        anywhere(unfit(), 0)
