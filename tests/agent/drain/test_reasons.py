# SPDX-License-Identifier: Apache-2.0
"""Why a connection is still with a server that drains."""

from typing import Any

import pytest

from ipos.abi.layout import constant, layout
from ipos.agent.drain.reasons import ENDPOINT, Why, why

FOLLOWED: dict[str, Any] = {
    "state": constant("IPOS_EP_ATTACHED"), "follow": constant("IPOS_FOLLOW_LENGTH"),
    "asked": 3, "answered": 3, "cookie": 77,
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, Why.IDLE),
        ({"answered": 2}, Why.BUSY),
        ({"body_left": 1}, Why.BUSY),
        ({"follow": constant("IPOS_FOLLOW_CHUNKED")}, Why.BUSY),
        ({"follow": constant("IPOS_FOLLOW_UPGRADE")}, Why.BUSY),
        ({"flags": constant("IPOS_EP_WAITING")}, Why.BUSY),
        ({"flags": constant("IPOS_EP_MOVING")}, Why.MOVING),
        ({"state": constant("IPOS_EP_PENDING")}, Why.MOVING),
        ({"state": constant("IPOS_EP_ADOPTING")}, Why.MOVING),
        ({"follow": constant("IPOS_FOLLOW_NOT")}, Why.UNREAD),
        ({"follow": constant("IPOS_FOLLOW_OPAQUE")}, Why.OPAQUE),
        ({"follow": 0, "flags": constant("IPOS_EP_HANDSHAKE")}, Why.OPAQUE),
        ({"answer": constant("IPOS_ANSWER_UNKNOWN")}, Why.OPAQUE),
        ({"client_fin_seen": 1}, Why.CLOSING),
        ({"server_fin_seen": 1, "answered": 2}, Why.CLOSING),
    ],
)
def test_by_its_row(row: dict[str, Any], reason: Why) -> None:
    read = ENDPOINT.read(layout("ipos_endpoint").pack({**FOLLOWED, **row}))
    assert why(read) is reason
    assert read.cookie == 77
