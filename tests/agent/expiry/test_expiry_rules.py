# SPDX-License-Identifier: Apache-2.0
"""The fate of rows whose packets have stopped coming, and what is left of them."""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ipos.abi.columns import Columns, Since
from ipos.abi.layout import constant, layout
from ipos.abi.rows import Settings, SettingsFlags
from ipos.agent.expiry import expiry_rules
from ipos.agent.expiry.expiry_rules import Fate, Forwarded, Held, Limits, Owned

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
    return expiry_rules.HELD.read(layout("ipos_holding").pack(raw))


def owned(**values: Any) -> Owned:
    raw = {"hs": HS, "state": ATTACHED, "last_seen_ns": ago(0), **values}
    return expiry_rules.OWNED.read(layout("ipos_endpoint").pack(raw))


def forwarded(**values: Any) -> Forwarded:
    raw = {"acknowledged": 1, "last_seen_ns": ago(0), **values}
    return expiry_rules.FORWARDED.read(layout("ipos_forward").pack(raw))


@pytest.mark.parametrize(
    ("row", "fate"),
    [
        (held(created_ns=ago(5_000)), Fate.KEEP),
        (held(created_ns=ago(5_001)), Fate.RESET),
        (held(held=0, live=1, created_ns=ago(3_600_000)), Fate.KEEP),
        (held(held=0, live=1, created_ns=ago(3_600_001)), Fate.RESET),
        (held(live=1, created_ns=ago(5_001), chunks=[1], head_state=1), Fate.ANSWER),
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
        (held(complete=1, created_ns=ago(35_000), last_seen_ns=0), Fate.KEEP),
        (held(complete=1, created_ns=ago(35_001), last_seen_ns=ago(0)), Fate.LOOK),
        # A later request waits for the answers before it, not for ever.
        (held(complete=1, moving=1, created_ns=ago(60_000)), Fate.KEEP),
        (held(complete=1, moving=1, created_ns=ago(60_001), last_seen_ns=ago(0)), Fate.LOOK),
        # The data plane may have made the row after the pass began.
        (held(created_ns=ago(-10)), Fate.KEEP),
    ],
)
def test_a_held_request(row: Held, fate: Fate) -> None:
    assert expiry_rules.held(row, NOW_NS, LIMITS) is fate


@pytest.mark.parametrize(
    ("state", "age_ms", "fate"),
    [
        ("OPEN", 60_000, Fate.KEEP),
        ("OPEN", 60_001, Fate.RESET),
        ("CLOSED", 99_000, Fate.KEEP),
        ("RESET", 99_000, Fate.KEEP),
        ("SYN", 99_000, Fate.KEEP),
        ("SYN_HERE", 99_000, Fate.KEEP),
    ],
)
def test_a_client_that_sends_nothing(state: str, age_ms: int, fate: Fate) -> None:
    raw = {"hs": HS, "state": constant(f"IPOS_TEMP_{state}"), "created_ns": ago(age_ms),
           "last_seen_ns": ago(1)}  # fmt: skip
    row = expiry_rules.LEFT.read(layout("ipos_temporary").pack(raw))
    assert expiry_rules.opened(row, NOW_NS, LIMITS) is fate
    left = expiry_rules.LEFT.read(expiry_rules.ended(row, expiry_rules.RESET, NOW_NS))
    assert (left.state, left.client_end, left.hs) == (expiry_rules.RESET, 0xFFFF_FFF1, row.hs)


def test_only_open_rows_of_temporary_are_looked_at() -> None:
    shape = layout("ipos_temporary")
    rows = [
        {"state": constant(f"IPOS_TEMP_{state}"), "created_ns": ago(age_ms)}
        for state, age_ms in (("CLOSED", 9), ("OPEN", 9), ("RESET", 9), ("OPEN", 5), ("OPEN", 6))
    ]
    values = b"".join(map(shape.pack, rows))
    assert expiry_rules.LEFT_SINCE.before(values, ago(5)) == [1, 4]


def test_a_long_header_timeout_is_also_the_least_an_owner_gets() -> None:
    patient = dataclasses.replace(LIMITS, header_ns=90_000 * MS)
    row = held(complete=1, created_ns=ago(100_000))
    assert expiry_rules.held(row, NOW_NS, patient) is Fate.KEEP


@pytest.mark.parametrize(
    ("forward", "local", "fate"),
    [
        (forwarded(last_seen_ns=0), None, Fate.RELEASE),
        (forwarded(acknowledged=0), None, Fate.RESET),
        (None, owned(last_seen_ns=0), Fate.RELEASE),
        (None, owned(state=constant("IPOS_EP_PENDING")), Fate.RESET),
        (None, owned(state=constant("IPOS_EP_ADOPTING"), last_seen_ns=0), Fate.RESET),
        (None, None, Fate.RESET),
    ],
)
def test_an_offered_request(forward: Forwarded | None, local: Owned | None, fate: Fate) -> None:
    assert expiry_rules.offered(forward, local) is fate


@pytest.mark.parametrize("state", ["PENDING", "ADOPTING", "ATTACHED"])
@pytest.mark.parametrize("silent_ms", [0, 10_000, 10_001, 60_000, 60_001])
def test_an_endpoint(state: str, silent_ms: int) -> None:
    row = owned(state=constant(f"IPOS_EP_{state}"), last_seen_ns=ago(silent_ms))
    if state == "ATTACHED":
        expected = Fate.ASK if silent_ms > 60_000 else Fate.KEEP
    else:
        expected = Fate.FORGET if silent_ms > 10_000 else Fate.KEEP
    assert expiry_rules.owned(row, NOW_NS, LIMITS) is expected


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
    assert expiry_rules.forwarded(row, owner, NOW_NS, LIMITS) is fate


@pytest.mark.parametrize("up_ns", [0, 1_000 * MS, 3_600_000 * MS], ids=["0 s", "1 s", "1 h"])
def test_a_row_in_doubt_is_asked_about_however_young_the_machine_is(up_ns: int) -> None:
    doubt = constant("IPOS_IN_DOUBT")
    given_away, ours = forwarded(last_seen_ns=doubt), owned(last_seen_ns=doubt)
    assert expiry_rules.forwarded(given_away, READY, up_ns, LIMITS) is Fate.ASK
    assert expiry_rules.owned(ours, up_ns, LIMITS) is Fate.ASK
    raw = layout("ipos_forward").pack({"last_seen_ns": doubt})
    assert expiry_rules.FORWARDED_SINCE.before(raw, up_ns - LIMITS.forwarded_ns) == [0]


def test_an_owner_is_not_asked_while_it_is_being_offered_the_connection() -> None:
    impatient = dataclasses.replace(LIMITS, idle_ns=1_000 * MS)
    row = forwarded(acknowledged=0, last_seen_ns=ago(29_000))
    assert expiry_rules.forwarded(row, READY, NOW_NS, impatient) is Fate.KEEP
    assert (
        expiry_rules.forwarded(row._replace(acknowledged=1), READY, NOW_NS, impatient) is Fate.ASK
    )


@pytest.mark.parametrize(
    ("make", "judge", "since", "limit"),
    [
        (held, expiry_rules.held, "created_ns", LIMITS.header_ns),
        (owned, expiry_rules.owned, "last_seen_ns", LIMITS.owned_ns),
        (
            forwarded,
            lambda row, *rest: expiry_rules.forwarded(row, DOWN, *rest),
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
    left = layout("ipos_temporary").unpack(expiry_rules.ended(row, expiry_rules.RESET, NOW_NS))
    assert (left["state"], left["hs"]["iss"], left["hs"]["mss"]) == (5, 1000, 1460)
    assert left["client_end"] == 0xFFFF_FFF0 + 1 + 100 - (1 << 32)
    assert left["created_ns"] == left["last_seen_ns"] == NOW_NS


def test_what_is_left_of_an_endpoint_and_of_a_connection_given_away() -> None:
    shape = layout("ipos_temporary")
    row = owned(rcv_nxt=7, client_fin=9)
    left = shape.unpack(expiry_rules.ended(row, expiry_rules.CLOSED, NOW_NS))
    assert (left["state"], left["client_end"], left["hs"]["snd_wscale"]) == (2, 7, 7)
    row = owned(rcv_nxt=7, client_fin=9, client_fin_seen=1)
    assert shape.unpack(expiry_rules.ended(row, expiry_rules.CLOSED, NOW_NS))["client_end"] == 9
    gone = forwarded(iss=5, irs=6, client_end=70)
    left = shape.unpack(expiry_rules.ended(gone, expiry_rules.RESET, NOW_NS))
    assert (left["hs"]["iss"], left["hs"]["irs"], left["client_end"]) == (5, 6, 70)


def test_pieces_are_numbered_from_one_in_a_row_and_from_zero_in_the_pool() -> None:
    row = held(chunks=(1, 0, 300, *[0] * 12))
    assert [int.from_bytes(one, sys.byteorder) for one in expiry_rules.pieces(row.chunks)] == [
        0,
        299,
    ]


def test_columns_agree_with_the_layout() -> None:
    shape = layout("ipos_holding")
    raw = bytes(range(1, 256))[: shape.size]
    values = shape.unpack(raw)
    row = expiry_rules.HELD.read(raw)
    assert (row.held, row.complete, row.client_mac, row.created_ns, row.last_seen_ns) == tuple(
        values[name] for name in ("held", "complete", "client_mac", "created_ns", "last_seen_ns")
    )
    assert row.hs == shape.field("hs").pack(values["hs"])
    assert Since("ipos_holding", "created_ns").before(raw * 3, row.created_ns) == []
    assert Since("ipos_holding", "created_ns").before(raw * 3, row.created_ns + 1) == [0, 1, 2]


def test_columns_in_another_order_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ipos_forward\.server is not in the struct's order"):
        Columns("ipos_forward", ("iss", "server"), tuple)


def test_the_connection_of_a_later_request_that_is_old_is_ended_where_it_has_an_owner() -> None:
    assert expiry_rules.waiting(None) is Fate.RELEASE
    assert expiry_rules.waiting(owned()) is Fate.LATE


def test_a_server_that_drains_asks_its_kernel_sooner() -> None:
    settings = Settings(idle_s=7, flags=SettingsFlags.AUTHENTICATE)
    usual = LIMITS.in_force(settings)
    assert (usual.idle_ns, usual.silent_ns) == (7_000 * MS, LIMITS.silent_ns)
    draining = usual.in_force(dataclasses.replace(settings, flags=SettingsFlags.DRAINS))
    assert draining.silent_ns == LIMITS.draining_ns < LIMITS.silent_ns
    assert LIMITS.in_force(settings) == usual, "and no longer than it drains"
