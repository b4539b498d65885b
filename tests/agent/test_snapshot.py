# SPDX-License-Identifier: Apache-2.0
"""What makes a snapshot worth being written at once."""

from typing import Any

import msgspec
import pytest

from ipos.agent.message import Application, Listening
from ipos.agent.snapshot import Advertised, Snapshot

ONE = Advertised(2, "s2", "10.77.0.2", [7], ["web"], [Listening(0, 80)])
BEFORE = Snapshot(farm="shop", servers=[ONE], datagrams={"accepted": 5, "tag": 1})


@pytest.mark.parametrize(
    "changes",
    [
        {"datagrams": {"accepted": 9, "tag": 1}},
        {"access_log": {"written": 3}},
        {"servers": [msgspec.structs.replace(ONE, applications=[Application(1, 2, 3)])]},
    ],
)
def test_numbers_are_no_news(changes: dict[str, Any]) -> None:
    assert not msgspec.structs.replace(BEFORE, **changes).is_news(BEFORE)


@pytest.mark.parametrize(
    "field", sorted({*Snapshot.__struct_fields__} - {"datagrams", "access_log", "servers"})
)
def test_all_else_is(field: str) -> None:
    other = getattr(BEFORE, field) * 2 or (1 if field == "loaded" else "x")
    assert msgspec.structs.replace(BEFORE, **{field: other}).is_news(BEFORE)


@pytest.mark.parametrize("field", sorted({*Advertised.__struct_fields__} - {"applications"}))
def test_so_is_what_a_server_says(field: str) -> None:
    fresh = msgspec.structs.replace(ONE, **{field: getattr(ONE, field) * 2 or 1})
    assert msgspec.structs.replace(BEFORE, servers=[fresh]).is_news(BEFORE)
    assert msgspec.structs.replace(BEFORE, datagrams={"accepted": 5, "tag": 2}).is_news(BEFORE)
