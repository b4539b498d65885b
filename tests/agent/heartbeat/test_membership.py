# SPDX-License-Identifier: Apache-2.0
"""Who is believed, how silence ages, and that nothing played back changes anything."""

import copy
import itertools
from typing import Any

import pytest

from ipos.abi.layout import constant
from ipos.abi.rows import ServerState
from ipos.agent.heartbeat import message, parts
from ipos.agent.heartbeat.member import ASK_NS, FORGET_NS, Age
from ipos.agent.heartbeat.membership import INDEX_MAX, Members
from ipos.agent.heartbeat.message import (
    APPLICATIONS_MAX,
    LISTENERS_MAX,
    Application,
    Listening,
    Order,
)
from ipos.agent.heartbeat.orders import SAID_MAX
from ipos.config.crosscheck import MEMBERS_MAX, SERVICES_MAX
from tests.agent.made_up_farm import (
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
    assert other.age(NOW_NS + 549 * MS) is Age.SUSPECTED
    assert other.age(NOW_NS + 550 * MS) is Age.DOWN
    assert hear(farm, 2, NOW_NS + 1100 * MS, sequence=2)
    assert other.age(NOW_NS + 1100 * MS) is Age.FRESH


def test_a_farewell_is_believed_at_once() -> None:
    farm = members()
    assert hear(farm, 2, boot=1)
    assert hear(farm, 2, boot=2, sequence=0, state=int(ServerState.DOWN), services=[])
    other = farm.by_ip[back(2)]
    assert other.age(NOW_NS) is Age.DOWN
    assert not farm.is_quiet(NOW_NS), "the maps must follow"
    assert farm.silent(NOW_NS + 300 * MS) == [], "and nobody is asked whether it is true"
    farm.answered(back(2), state(2).mac, NOW_NS + 300 * MS)
    assert other.age(NOW_NS + 300 * MS) is Age.DOWN
    assert hear(farm, 2, NOW_NS + 400 * MS, boot=3)
    assert other.age(NOW_NS + 400 * MS) is Age.FRESH


def test_a_sign_of_life_keeps_a_silent_server_up_but_stale() -> None:
    farm = members()
    assert hear(farm, 2)
    assert farm.silent(NOW_NS + 149 * MS) == []
    other = farm.by_ip[back(2)]
    for passed_ms in range(500, 60_000, 300):
        now_ns = NOW_NS + passed_ms * MS
        assert farm.silent(now_ns) == [other]
        farm.answered(back(2), state(2).mac, now_ns)
        assert other.age(now_ns + 299 * MS) is Age.STALE
    assert other.age(now_ns + 499 * MS) is Age.STALE
    assert other.age(now_ns + 500 * MS) is Age.SUSPECTED
    assert other.age(now_ns + 550 * MS) is Age.DOWN


def test_who_is_asked_in_time_is_never_suspected() -> None:
    farm = members()
    assert hear(farm, 2)
    other = farm.by_ip[back(2)]
    assert farm.silent(NOW_NS + ASK_NS) == [other]
    assert other.age(NOW_NS + ASK_NS) is Age.FRESH
    farm.answered(back(2), state(2).mac, NOW_NS + 251 * MS)
    assert other.age(NOW_NS + 500 * MS) is Age.STALE


def test_nobody_asks_who_is_down_or_was_never_heard() -> None:
    farm = members()
    assert hear(farm, 2)
    assert farm.silent(NOW_NS + 550 * MS) == []


def test_a_server_that_is_down_must_speak_to_come_back() -> None:
    farm = members()
    assert hear(farm, 2)
    later_ns = NOW_NS + 1000 * MS
    assert farm.silent(later_ns) == []
    farm.answered(back(2), state(2).mac, later_ns)
    assert farm.by_ip[back(2)].age(later_ns) is Age.DOWN
    assert hear(farm, 2, later_ns, sequence=2)
    assert farm.by_ip[back(2)].age(later_ns) is Age.FRESH


def test_a_sign_of_another_mac_or_of_a_stranger_is_none() -> None:
    farm = members()
    assert hear(farm, 2)
    later_ns = NOW_NS + 700 * MS
    farm.answered(back(2), state(3).mac, later_ns)
    farm.answered(back(3), state(3).mac, later_ns)
    farm.answered(back(9), state(9).mac, later_ns)
    assert farm.by_ip[back(2)].age(NOW_NS + 1000 * MS) is Age.DOWN
    assert farm.by_ip[back(3)].age(later_ns) is Age.UNHEARD


def test_time_we_did_not_run_is_nobodys_silence() -> None:
    farm = members()
    assert hear(farm, 2)
    later_ns = NOW_NS + 60_000 * MS
    farm.slept(60_000 * MS, later_ns)
    assert farm.by_ip[back(2)].age(later_ns) is Age.FRESH
    farm.slept(60_000 * MS, later_ns)
    assert farm.by_ip[back(2)].age(later_ns + 900 * MS) is Age.DOWN, "nor is it heard ahead of time"


def test_after_a_long_pause_all_have_as_long_as_any_to_be_heard() -> None:
    """The cables of a server that stops may have been out for a while before it stopped."""
    farm = members()
    assert hear(farm, 2)
    later_ns = NOW_NS + 3_700 * MS
    farm.slept(3_000 * MS, later_ns)
    assert farm.by_ip[back(2)].age(later_ns + 549 * MS) is not Age.DOWN
    assert farm.by_ip[back(2)].age(later_ns + 550 * MS) is Age.DOWN
    short = members()
    assert hear(short, 2)
    short.slept(300 * MS, NOW_NS + 1000 * MS)
    assert short.by_ip[back(2)].age(NOW_NS + 1100 * MS) is Age.DOWN, "a hiccup is no excuse"


def test_who_hears_nobody() -> None:
    farm = members()
    assert not farm.hears_nobody(NOW_NS), "nobody is known yet"
    assert hear(farm, 2)
    assert not farm.hears_nobody(NOW_NS + 400 * MS)
    assert farm.hears_nobody(NOW_NS + 600 * MS)
    farm.answered(back(2), state(2).mac, NOW_NS + 500 * MS)
    assert not farm.hears_nobody(NOW_NS + 600 * MS), "a data plane answers"


@pytest.mark.parametrize(
    ("reason", "said", "source"),
    [
        ("short", b"", 2),
        ("version", b"\4" + datagram(2)[1:], 2),
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
    later_ns = NOW_NS + FORGET_NS + MS
    wall = WALL_MS + 15_001
    assert hear(farm, 2, later_ns, wall, boot=WALL_MS - 90_000, sent_ms=wall)


def test_discovery_takes_who_knows_the_secret() -> None:
    farm = members(discover=True)
    assert hear(farm, 9)
    assert farm.by_ip[back(9)].index == 4
    assert farm.receive(b"\3" + bytes(40), int(back(8)), NOW_NS, WALL_MS) is None
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
    late = NOW_NS + ASK_NS
    farm.hear_myself(state(1), late)
    assert not farm.is_quiet(late)
    assert not farm.is_quiet(late), "as long as it lasts"
    farm.silent(NOW_NS + 2000 * MS)
    for number in (1, 2, 3):
        assert number == 1 or hear(farm, number, NOW_NS + 2000 * MS, sequence=2)
    farm.hear_myself(state(1), NOW_NS + 2000 * MS)
    assert not farm.is_quiet(NOW_NS + 2000 * MS), "they were down"
    assert farm.is_quiet(NOW_NS + 2000 * MS)


LONGEST = {
    "services": [f"{n:02}" + "x" * 30 for n in range(SERVICES_MAX)],
    "addresses": [0xFFFF_FF00 + n for n in range(255)],
    "server": "s" * 32,
    "orders": [Order("s" * 30 + f"{n:02}", 2, 2**51, 65535, 2**51) for n in range(SAID_MAX)],
    "listening": [Listening(0xFFFF_FFFF, 65535, 4_194_304, "x" * 15)] * LISTENERS_MAX,
    "applications": [Application(4_194_304, 2**62, 10**6, "x" * 15)] * APPLICATIONS_MAX,
}


def parts_of(number: int, sequence: int = 1, **changes: Any) -> list[bytes]:
    said = {**LONGEST, "server": f"s{number}", **changes}
    return message.datagrams(state(number, sequence=sequence, **said), KEY)


def test_the_longest_state_there_can_be_is_heard_in_parts_of_any_order() -> None:
    found = parts_of(2)
    assert 1 < len(found) <= parts.PARTS_MAX
    assert all(len(one) <= message.SIZE_MAX for one in found)
    for order in itertools.islice(itertools.permutations(found), 24):
        farm = members()
        heard = [farm.receive(one, int(back(2)), NOW_NS, WALL_MS) for one in order]
        assert heard[:-1] == [None] * (len(found) - 1)
        member = heard[-1]
        assert member is not None
        assert member.state is not None
        assert member.state.services == LONGEST["services"]
        assert member.state.addresses == LONGEST["addresses"]


def test_parts_of_two_states_are_not_mixed() -> None:
    farm = members()
    first, second = parts_of(2, 1, weight=3), parts_of(2, 2, weight=4)
    for one in (*first[:-1], *second[:-1], first[-1]):
        assert farm.receive(one, int(back(2)), NOW_NS, WALL_MS) is None
    member = farm.receive(second[-1], int(back(2)), NOW_NS, WALL_MS)
    assert member is not None
    assert member.state is not None
    assert member.state.weight == 4
    for one in second:
        assert farm.receive(one, int(back(2)), NOW_NS, WALL_MS) is None
    assert farm.counts["replayed"] == 1


def test_parts_that_are_changed_or_sent_by_another_are_not_believed() -> None:
    farm = members()
    first = bytearray(parts_of(2)[0])
    assert farm.receive(bytes(first), int(back(3)), NOW_NS, WALL_MS) is None
    assert farm.counts == {"source": 1}
    for position in range(len(first)):
        first[position] ^= 1
        assert farm.receive(bytes(first), int(back(2)), NOW_NS, WALL_MS) is None
        first[position] ^= 1
    assert farm.counts["tag"] + farm.counts["version"] == len(first)


def test_one_server_more_than_a_farm_has_is_left_out() -> None:
    assert constant("IPOS_MEMBERS_MAX") == MEMBERS_MAX
    assert constant("IPOS_SERVERS_MAX") == INDEX_MAX + 1 > MEMBERS_MAX
    assert constant("IPOS_CANDIDATES_MAX") >= MEMBERS_MAX
    farm = members(discover=True)
    for number in range(2, MEMBERS_MAX + 2):
        farm.receive(datagram(number), int(back(number)), NOW_NS, WALL_MS)
    assert len(farm.by_ip) == MEMBERS_MAX
    assert farm.counts["full"] == 1
    (trouble,) = farm.troubles(NOW_NS)
    assert trouble.text == f"{back(1001)}: a farm has at most 1000 servers, so it is left out"
