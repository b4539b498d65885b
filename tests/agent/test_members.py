# SPDX-License-Identifier: Apache-2.0
"""Who is believed, how silence ages, and that nothing played back changes anything."""

import copy
from typing import Any

import pytest

from ipos.agent import members as members_module
from ipos.agent.members import Age, Members
from tests.agent.farm import (
    KEY,
    MS,
    NOW_NS,
    WALL_MS,
    back,
    datagram,
    front,
    members,
    state,
)


def hear(
    farm: Members, number: int, now_ns: int = NOW_NS, wall_ms: int = WALL_MS, **changes: object
) -> bool:
    said = datagram(number, **changes)
    return farm.receive(said, int(back(number)), now_ns, wall_ms) is not None


def test_members_are_numbered_by_address_from_one() -> None:
    farm = members()
    assert {str(ip): member.index for ip, member in farm.by_ip.items()} == {
        "10.77.0.1": 1,
        "10.77.0.2": 2,
        "10.77.0.3": 3,
    }
    assert farm.myself.back_ip == back(1)


def test_a_member_keeps_its_number_over_changes_and_lives() -> None:
    farm = Members("shop", KEY, back(3))
    farm.expect([back(3), back(5)])
    farm.expect([back(1), back(3)])
    assert {ip: member.index for ip, member in farm.by_ip.items()} == {back(3): 1, back(1): 3}
    again = Members("shop", KEY, back(3))
    again.expect([back(1), back(3), back(4)], {back(3): 1, back(1): 3, back(9): 7})
    assert {ip: member.index for ip, member in again.by_ip.items()} == {
        back(3): 1,
        back(1): 3,
        back(4): 4,
    }


def test_silence_ages_and_a_word_makes_young() -> None:
    farm = members()
    other = farm.by_ip[back(2)]
    assert other.age(NOW_NS) is Age.UNHEARD
    assert hear(farm, 2)
    assert other.age(NOW_NS + 499 * MS) is Age.FRESH
    assert other.age(NOW_NS + 500 * MS) is Age.SUSPECTED
    assert other.age(NOW_NS + 799 * MS) is Age.SUSPECTED
    assert other.age(NOW_NS + 800 * MS) is Age.DOWN
    assert hear(farm, 2, NOW_NS + 1100 * MS, sequence=2)
    assert other.age(NOW_NS + 1100 * MS) is Age.FRESH


def test_a_sign_of_life_keeps_a_silent_server_up_but_stale() -> None:
    farm = members()
    assert hear(farm, 2)
    assert farm.silent(NOW_NS + 249 * MS) == []
    other = farm.by_ip[back(2)]
    for passed_ms in range(600, 60_000, 300):
        now_ns = NOW_NS + passed_ms * MS
        assert farm.silent(now_ns) == [other]
        farm.sign(back(2), state(2).mac, now_ns)
        assert other.age(now_ns + 299 * MS) is Age.STALE
    assert other.age(now_ns + 499 * MS) is Age.STALE
    assert other.age(now_ns + 500 * MS) is Age.SUSPECTED
    assert other.age(now_ns + 800 * MS) is Age.DOWN


def test_who_is_asked_in_time_is_never_suspected() -> None:
    farm = members()
    assert hear(farm, 2)
    other = farm.by_ip[back(2)]
    assert farm.silent(NOW_NS + 250 * MS) == [other]
    assert other.age(NOW_NS + 250 * MS) is Age.FRESH
    farm.sign(back(2), state(2).mac, NOW_NS + 251 * MS)
    assert other.age(NOW_NS + 500 * MS) is Age.STALE


def test_nobody_asks_who_is_down_or_was_never_heard() -> None:
    farm = members()
    assert hear(farm, 2)
    assert farm.silent(NOW_NS + 800 * MS) == []


def test_a_server_that_is_down_must_speak_to_come_back() -> None:
    farm = members()
    assert hear(farm, 2)
    later_ns = NOW_NS + 1000 * MS
    assert farm.silent(later_ns) == []
    farm.sign(back(2), state(2).mac, later_ns)
    assert farm.by_ip[back(2)].age(later_ns) is Age.DOWN
    assert hear(farm, 2, later_ns, sequence=2)
    assert farm.by_ip[back(2)].age(later_ns) is Age.FRESH


def test_a_sign_of_another_mac_or_of_a_stranger_is_none() -> None:
    farm = members()
    assert hear(farm, 2)
    later_ns = NOW_NS + 700 * MS
    farm.sign(back(2), state(3).mac, later_ns)
    farm.sign(back(3), state(3).mac, later_ns)
    farm.sign(back(9), state(9).mac, later_ns)
    assert farm.by_ip[back(2)].age(NOW_NS + 1000 * MS) is Age.DOWN
    assert farm.by_ip[back(3)].age(later_ns) is Age.UNHEARD


def test_time_we_did_not_run_is_nobodys_silence() -> None:
    farm = members()
    assert hear(farm, 2)
    farm.slept(60_000 * MS)
    assert farm.by_ip[back(2)].age(NOW_NS + 60_000 * MS) is Age.FRESH


@pytest.mark.parametrize(
    ("reason", "said", "source"),
    [
        ("short", b"", 2),
        ("version", b"\2" + datagram(2)[1:], 2),
        ("tag", datagram(2)[:-1], 2),
        ("farm", datagram(2, farm="other"), 2),
        ("source", datagram(2), 3),
        ("source", datagram(2, mac=b""), 2),
        ("own", datagram(1), 1),
        ("stranger", datagram(9), 9),
        ("clock", datagram(2, sent_ms=WALL_MS - 5001), 2),
        ("clock", datagram(2, sent_ms=WALL_MS + 5001), 2),
    ],
)
def test_what_is_not_believed_is_counted_and_changes_nothing(
    reason: str, said: bytes, source: int
) -> None:
    farm = members()
    before = copy.deepcopy(farm.by_ip)
    assert farm.receive(said, int(back(source)), NOW_NS, WALL_MS) is None
    assert farm.counts == {reason: 1}
    assert farm.by_ip == before


def test_nothing_is_believed_twice_or_out_of_order() -> None:
    farm = members()
    assert hear(farm, 2, sequence=5)
    for sequence in (5, 4, 0):
        assert not hear(farm, 2, sequence=sequence)
    assert farm.counts["replayed"] == 3
    assert hear(farm, 2, sequence=6)
    assert hear(farm, 2, boot=WALL_MS, sequence=1)
    assert not hear(farm, 2, sequence=7), "of the life before"


def test_nothing_can_be_played_back_after_a_silence() -> None:
    """What is forgotten was sent too long ago to be believed."""
    farm = members()
    assert hear(farm, 2, sequence=5)
    for later_ms in range(0, 40_000, 500):
        assert not hear(farm, 2, NOW_NS + later_ms * MS, WALL_MS + later_ms, sequence=5)


def test_a_clock_set_back_is_forgiven_when_the_old_time_is_forgotten() -> None:
    farm = members()
    assert hear(farm, 2)
    later_ns = NOW_NS + members_module.FORGET_NS + MS
    wall = WALL_MS + 15_001
    assert hear(farm, 2, later_ns, wall, boot=WALL_MS - 90_000, sent_ms=wall)


def test_discovery_takes_who_knows_the_secret() -> None:
    farm = members(discover=True)
    assert hear(farm, 9)
    assert farm.by_ip[back(9)].index == 4
    assert farm.receive(b"\1" + bytes(40), int(back(8)), NOW_NS, WALL_MS) is None
    assert back(8) not in farm.by_ip


def test_own_state_needs_no_datagram() -> None:
    farm = Members("shop", KEY, back(1))
    farm.expect([])
    farm.hear_myself(state(1), NOW_NS)
    assert farm.myself.state == state(1)
    assert farm.others() == []
    assert front(1) is not None


def test_numbers_alone_are_no_news() -> None:
    farm = members()
    farm.hear_myself(state(1), NOW_NS)
    assert not farm.is_quiet(NOW_NS), "s2 and s3 have not spoken"
    assert hear(farm, 2)
    assert hear(farm, 3)
    assert not farm.is_quiet(NOW_NS)
    assert farm.is_quiet(NOW_NS)
    assert hear(farm, 2, sequence=2, tcp_connections=7, cpu_permille=900, limit=5)
    assert farm.is_quiet(NOW_NS)


@pytest.mark.parametrize(
    "change",
    [
        {"services": []},
        {"state": 2},
        {"listening": []},
        {"addresses": [1, 2]},
        {"server": "s7"},
        {"mac": bytes(6)},
        {"boot": WALL_MS},
    ],
)
def test_whoever_says_something_else_is_news(change: Any) -> None:
    farm = members()
    for sequence in (1, 2):
        farm.hear_myself(state(1), NOW_NS)
        for number in (2, 3):
            assert hear(farm, number, sequence=sequence)
        farm.is_quiet(NOW_NS)
    assert farm.is_quiet(NOW_NS)
    assert hear(farm, 2, sequence=3, **change)
    assert not farm.is_quiet(NOW_NS)
    assert farm.is_quiet(NOW_NS)
    farm.hear_myself(state(1, **change), NOW_NS)
    assert not farm.is_quiet(NOW_NS)


def test_silence_and_its_end_are_news() -> None:
    farm = members()
    farm.hear_myself(state(1), NOW_NS)
    assert hear(farm, 2)
    assert hear(farm, 3)
    farm.is_quiet(NOW_NS)
    late = NOW_NS + members_module.ASK_NS
    farm.hear_myself(state(1), late)
    assert not farm.is_quiet(late)
    assert not farm.is_quiet(late), "as long as it lasts"
    farm.silent(NOW_NS + 2000 * MS)
    for number in (1, 2, 3):
        assert number == 1 or hear(farm, number, NOW_NS + 2000 * MS, sequence=2)
    farm.hear_myself(state(1), NOW_NS + 2000 * MS)
    assert not farm.is_quiet(NOW_NS + 2000 * MS), "they were down"
    assert farm.is_quiet(NOW_NS + 2000 * MS)
