# SPDX-License-Identifier: Apache-2.0
"""Carrier and next hops: what is believed of a contact, and who is asked when."""

from ipaddress import IPv4Address
from pathlib import Path

from ipos.agent.host.links import ASK_NS, ASKED_LEAST, SILENT_NS, Damped, NextHops, next_hops

MS = 1_000_000
ROUTER, OTHER = IPv4Address("203.0.113.254"), IPv4Address("203.0.113.253")
MAC = b"\2\0\0\0\0\x99"


def test_a_contact_is_believed_when_it_has_lasted() -> None:
    contact = Damped(cut_ns=150, well_ns=2000)
    assert not contact.look(True, 0)
    assert not contact.look(False, 100)
    assert not contact.look(True, 200), "one look is a blink"
    assert not contact.look(False, 300)
    assert contact.look(False, 450)
    for now in range(500, 9500, 1000):
        assert contact.look(True, now), "a loose plug"
        assert contact.look(False, now + 500)
    assert contact.look(True, 10_000)
    assert not contact.look(True, 12_000)


def test_a_next_hop_that_stops_to_answer_is_silent() -> None:
    hops = NextHops()
    hops.expect([ROUTER])
    assert list(hops.due(0)) == [(ROUTER, None)]
    for now_ms in range(100, 3000, 100):
        list(hops.due(now_ms * MS))
    assert not hops.silent(3000 * MS), "one that never answered proves nothing"
    assert hops.answered_ns == 0
    hops.answered(ROUTER, MAC, 3000 * MS)
    assert hops.answered_ns == 3000 * MS
    assert list(hops.due(4000 * MS)) == [(ROUTER, MAC)]
    hops.answered(ROUTER, MAC, 4000 * MS)
    assert list(hops.due(4000 * MS + ASK_NS - 1)) == [], "four times a second is enough"
    asked = [now for now in range(5000, 6000, 100) if list(hops.due(now * MS))]
    assert asked == list(range(5000, 6000, 100)), "and more often without an answer"
    assert not hops.silent(5000 * MS + SILENT_NS - 1)
    assert hops.silent(5000 * MS + SILENT_NS)
    hops.answered(ROUTER, MAC, 6000 * MS)
    assert not hops.silent(6000 * MS)


def test_a_pause_of_ours_is_no_silence_of_theirs() -> None:
    hops = NextHops()
    hops.expect([ROUTER])
    list(hops.due(0))
    hops.answered(ROUTER, MAC, 0)
    list(hops.due(1000 * MS))
    assert not hops.silent(9000 * MS), f"asked once, and {ASKED_LEAST} questions are the least"


def test_one_router_of_two_is_enough() -> None:
    hops = NextHops()
    hops.expect([ROUTER, OTHER])
    list(hops.due(0))
    hops.answered(ROUTER, MAC, 0)
    hops.answered(OTHER, MAC, 0)
    for now_ms in range(1000, 3000, 100):
        list(hops.due(now_ms * MS))
        hops.answered(OTHER, MAC, now_ms * MS)
    assert not hops.silent(3000 * MS)
    hops.expect([ROUTER])
    assert hops.silent(3000 * MS)


def test_next_hops_are_those_of_the_routes_that_leave_by_front(tmp_path: Path) -> None:
    table = tmp_path / "route"
    table.write_text(
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "front\t00000000\tFE7100CB\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "front\t0071000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "back\t00004D0A\tFE004D0A\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    assert next_hops("front", table) == {ROUTER}
