# SPDX-License-Identifier: Apache-2.0
"""The fate of rows whose packets have stopped coming, and what is left of them."""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ipos.agent import reaper
from ipos.agent.columns import Columns, Since
from ipos.agent.reaper import Fate, Forwarded, Held, Limits, Owned
from ipos.inic.layout import constant, layout

MS = 1_000_000
NOW_NS = 10_000_000 * MS
LIMITS = Limits(
    header_ns=5_000 * MS,
    offer_ns=30_000 * MS,
    unattached_ns=10_000 * MS,
    silent_ns=60_000 * MS,
    owner_down_ns=50_000 * MS,
    idle_ns=3_600_000 * MS,
)
ATTACHED = constant("IPOS_EP_ATTACHED")
READY, DRAIN, DOWN, NONE = (
    constant(f"IPOS_SERVER_{name}") for name in ("READY", "DRAIN", "DOWN", "NONE")
)
HS = {"iss": 1000, "irs": 0xFFFF_FFF0, "mss": 1460, "snd_wscale": 7, "options": 7}


def ago(ms: float) -> int:
    return NOW_NS - int(ms * MS)


def held(**values: Any) -> Held:
    raw = {"hs": HS, "held": 100, "created_ns": ago(0), "last_seen_ns": ago(0), **values}
    return reaper.HELD.read(layout("ipos_holding").pack(raw))


def owned(**values: Any) -> Owned:
    raw = {"hs": HS, "state": ATTACHED, "last_seen_ns": ago(0), **values}
    return reaper.OWNED.read(layout("ipos_endpoint").pack(raw))


def forwarded(**values: Any) -> Forwarded:
    raw = {"acknowledged": 1, "last_seen_ns": ago(0), "offered_ns": ago(0), **values}
    return reaper.FORWARDED.read(layout("ipos_forward").pack(raw))


@pytest.mark.parametrize(
    ("row", "fate"),
    [
        (held(created_ns=ago(5_000)), Fate.KEEP),
        (held(created_ns=ago(5_001)), Fate.RESET),
        (held(created_ns=ago(5_001), head_state=1), Fate.ANSWER),
        (held(created_ns=ago(5_001), head_state=2), Fate.ANSWER),
        (held(created_ns=ago(5_001), head_state=3), Fate.ANSWER),
        (held(created_ns=ago(5_001), head_state=8), Fate.RESET),
        (held(created_ns=ago(5_001), head_state=1, moving=1), Fate.LATE),
        (held(created_ns=ago(5_001), moving=1), Fate.LATE),
        (held(created_ns=ago(5_000), head_state=1, moving=1), Fate.KEEP),
        (held(created_ns=ago(5_000), complete=1, answer=9), Fate.KEEP),
        (held(created_ns=ago(5_001), complete=1, answer=9, last_seen_ns=ago(1)), Fate.EXPIRE),
        # Bytes that still trickle in do not prolong it.
        (held(created_ns=ago(5_001), last_seen_ns=ago(1)), Fate.RESET),
        (held(complete=1, created_ns=ago(60_000), last_seen_ns=ago(30_000)), Fate.KEEP),
        (held(complete=1, created_ns=ago(60_000), last_seen_ns=ago(30_001)), Fate.LOOK),
        (held(complete=1, created_ns=ago(6_000), last_seen_ns=0), Fate.KEEP),
        # The data plane may have made the row after the pass began.
        (held(created_ns=ago(-10)), Fate.KEEP),
    ],
)
def test_a_held_request(row: Held, fate: Fate) -> None:
    assert reaper.held(row, NOW_NS, LIMITS) is fate


def test_a_long_header_timeout_is_also_the_least_an_owner_gets() -> None:
    patient = dataclasses.replace(LIMITS, header_ns=90_000 * MS)
    row = held(complete=1, created_ns=ago(100_000), last_seen_ns=ago(89_000))
    assert reaper.held(row, NOW_NS, patient) is Fate.KEEP
    silent = forwarded(acknowledged=0, last_seen_ns=ago(89_000), offered_ns=ago(89_000))
    assert reaper.offered(silent, None, NOW_NS, patient) is Fate.KEEP


@pytest.mark.parametrize(
    ("forward", "local", "fate"),
    [
        (forwarded(last_seen_ns=0), None, Fate.RELEASE),
        (forwarded(acknowledged=0), None, Fate.KEEP),
        (forwarded(acknowledged=0, last_seen_ns=0, offered_ns=ago(30_000)), None, Fate.KEEP),
        (forwarded(acknowledged=0, last_seen_ns=ago(29_000), offered_ns=0), None, Fate.KEEP),
        (forwarded(acknowledged=0, last_seen_ns=0, offered_ns=ago(30_001)), None, Fate.RESET),
        (None, owned(last_seen_ns=0), Fate.RELEASE),
        (None, owned(state=constant("IPOS_EP_PENDING")), Fate.KEEP),
        (None, owned(state=constant("IPOS_EP_ADOPTING"), last_seen_ns=0), Fate.RESET),
        (None, None, Fate.RESET),
    ],
)
def test_an_offered_request(forward: Forwarded | None, local: Owned | None, fate: Fate) -> None:
    assert reaper.offered(forward, local, NOW_NS, LIMITS) is fate


@pytest.mark.parametrize("state", ["PENDING", "ADOPTING", "ATTACHED", "CLOSED"])
@pytest.mark.parametrize("silent_ms", [0, 10_000, 10_001, 60_000, 60_001])
def test_an_endpoint(state: str, silent_ms: int) -> None:
    row = owned(state=constant(f"IPOS_EP_{state}"), last_seen_ns=ago(silent_ms))
    if state == "ATTACHED":
        expected = Fate.ASK if silent_ms > 60_000 else Fate.KEEP
    else:
        expected = Fate.FORGET if silent_ms > 10_000 else Fate.KEEP
    assert reaper.owned(row, NOW_NS, LIMITS) is expected


@pytest.mark.parametrize(
    ("row", "owner", "fate"),
    [
        (forwarded(last_seen_ns=ago(50_000)), DOWN, Fate.KEEP),
        (forwarded(last_seen_ns=ago(50_001)), DOWN, Fate.END),
        (forwarded(last_seen_ns=ago(50_001)), NONE, Fate.END),
        (forwarded(last_seen_ns=ago(50_001), acknowledged=0), DOWN, Fate.END),
        # Never by idleness alone.
        (forwarded(last_seen_ns=ago(3_600_000)), READY, Fate.KEEP),
        (forwarded(last_seen_ns=ago(3_600_001)), READY, Fate.ASK),
        (forwarded(last_seen_ns=ago(3_600_001)), DRAIN, Fate.ASK),
        (forwarded(last_seen_ns=ago(60_000), ending=1), READY, Fate.KEEP),
        (forwarded(last_seen_ns=ago(60_001), ending=1), READY, Fate.ASK),
        (forwarded(last_seen_ns=ago(60_001), ending=1, acknowledged=0), READY, Fate.ASK),
    ],
)
def test_a_connection_given_away(row: Forwarded, owner: int, fate: Fate) -> None:
    assert reaper.forwarded(row, owner, NOW_NS, LIMITS) is fate


def test_an_owner_is_not_asked_while_it_is_being_offered_the_connection() -> None:
    impatient = dataclasses.replace(LIMITS, idle_ns=1_000 * MS)
    row = forwarded(acknowledged=0, last_seen_ns=ago(29_000))
    assert reaper.forwarded(row, READY, NOW_NS, impatient) is Fate.KEEP
    assert reaper.forwarded(row._replace(acknowledged=1), READY, NOW_NS, impatient) is Fate.ASK


@pytest.mark.parametrize(
    ("make", "judge", "since", "limit"),
    [
        (held, reaper.held, "created_ns", LIMITS.header_ns),
        (owned, reaper.owned, "last_seen_ns", LIMITS.owned_ns),
        (
            forwarded,
            lambda row, *rest: reaper.forwarded(row, DOWN, *rest),
            "last_seen_ns",
            LIMITS.forwarded_ns,
        ),
    ],
)
def test_the_sieve_lets_through_what_has_a_fate(
    make: Callable[..., Any], judge: Callable[..., Fate], since: str, limit: int
) -> None:
    for state in (0, 1, 3):
        own = {"state": state} if make is owned else {}
        assert judge(make(**{since: NOW_NS - limit}, **own), NOW_NS, LIMITS) is Fate.KEEP


def test_what_is_left_of_a_held_request() -> None:
    row = held(iss=1000, irs=HS["irs"], hs={**HS, "iss": 5000})  # of a later request
    left = layout("ipos_temporary").unpack(reaper.ended(row, reaper.RESET, NOW_NS))
    assert (left["state"], left["hs"]["iss"], left["hs"]["mss"]) == (5, 1000, 1460)
    assert left["client_end"] == 0xFFFF_FFF0 + 1 + 100 - (1 << 32)
    assert left["created_ns"] == left["last_seen_ns"] == NOW_NS


def test_what_is_left_of_an_endpoint_and_of_a_connection_given_away() -> None:
    shape = layout("ipos_temporary")
    row = owned(rcv_nxt=7, client_fin=9)
    left = shape.unpack(reaper.ended(row, reaper.CLOSED, NOW_NS))
    assert (left["state"], left["client_end"], left["hs"]["snd_wscale"]) == (2, 7, 7)
    row = owned(rcv_nxt=7, client_fin=9, client_fin_seen=1)
    assert shape.unpack(reaper.ended(row, reaper.CLOSED, NOW_NS))["client_end"] == 9
    gone = forwarded(iss=5, irs=6, client_end=70)
    left = shape.unpack(reaper.ended(gone, reaper.RESET, NOW_NS))
    assert (left["hs"]["iss"], left["hs"]["irs"], left["client_end"]) == (5, 6, 70)


def test_pieces_are_numbered_from_one_in_a_row_and_from_zero_in_the_pool() -> None:
    row = held(chunks=(1, 0, 300, *[0] * 12))
    assert [int.from_bytes(one, sys.byteorder) for one in reaper.pieces(row.chunks)] == [0, 299]


def test_columns_agree_with_the_layout() -> None:
    shape = layout("ipos_holding")
    raw = bytes(range(1, 256))[: shape.size]
    values = shape.unpack(raw)
    row = reaper.HELD.read(raw)
    assert (row.held, row.complete, row.client_mac, row.created_ns, row.last_seen_ns) == tuple(
        values[name] for name in ("held", "complete", "client_mac", "created_ns", "last_seen_ns")
    )
    assert row.hs == shape.field("hs").pack(values["hs"])
    assert Since("ipos_holding", "created_ns").before(raw * 3, row.created_ns) == []
    assert Since("ipos_holding", "created_ns").before(raw * 3, row.created_ns + 1) == [0, 1, 2]


def test_columns_in_another_order_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ipos_forward\.server is not in the struct's order"):
        Columns("ipos_forward", ("iss", "server"), tuple)


def test_a_later_request_is_kept_for_as_long_as_its_connection_has_an_owner() -> None:
    assert reaper.waiting(None) is Fate.RELEASE
    assert reaper.waiting(owned()) is Fate.KEEP
