# SPDX-License-Identifier: Apache-2.0
"""What makes a snapshot worth being written at once."""

from typing import Any

import msgspec
import pytest

from ipos.agent.heartbeat.message import Application, Listening
from ipos.agent.snapshot.snapshot import Advertised, Snapshot

ONE = Advertised(2, "s2", "10.77.0.2", [7], ["web"], [Listening(0, 80)])
BEFORE = Snapshot(farm="shop", servers=[ONE], datagrams={"accepted": 5, "tag": 1})


@pytest.mark.parametrize(
    "changes",
    [
        {"datagrams": {"accepted": 9, "tag": 1}},
        {"access_log": {"written": 3}},
        {"address_changes": {"taken": 1}},
        {"servers": [msgspec.structs.replace(ONE, applications=[Application(1, 2, 3)])]},
    ],
)
def test_numbers_are_no_news(changes: dict[str, Any]) -> None:
    assert not msgspec.structs.replace(BEFORE, **changes).is_news(BEFORE)


COUNTS = {"datagrams", "access_log", "address_changes"}
OTHERS: dict[str, Any] = {"loaded": 1, "taken_s": 1.5, "checks": {"web": "HTTP 404"}}


@pytest.mark.parametrize("field", sorted({*Snapshot.__struct_fields__} - COUNTS - {"servers"}))
def test_all_else_is(field: str) -> None:
    other = OTHERS.get(field) or getattr(BEFORE, field) * 2 or "x"
    assert msgspec.structs.replace(BEFORE, **{field: other}).is_news(BEFORE)


@pytest.mark.parametrize(
    "field", sorted({*Advertised.__struct_fields__} - {"applications", "leaving", "apart_ms"})
)
def test_so_is_what_a_server_says(field: str) -> None:
    fresh = msgspec.structs.replace(ONE, **{field: getattr(ONE, field) * 2 or 1})
    assert msgspec.structs.replace(BEFORE, servers=[fresh]).is_news(BEFORE)
    assert msgspec.structs.replace(BEFORE, datagrams={"accepted": 5, "tag": 2}).is_news(BEFORE)


def test_faults_are_said_once_and_our_own_even_when_it_counts_for_nothing() -> None:
    out = Advertised(2, "s2", "10.77.0.2", [], [], [], fault="its front interface has no carrier")
    told = ["s2 (10.77.0.2): its front interface has no carrier"]
    assert Snapshot(me="s1", servers=[out]).faults() == told
    assert Snapshot(me="s2", fault=out.fault, servers=[out]).faults() == told
    assert Snapshot(me="s1", fault="its front").faults() == ["s1: its front"]
