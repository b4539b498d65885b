# SPDX-License-Identifier: Apache-2.0
"""An agent that starts asks before it forgets: servers that serve without an agent stay."""

from ipaddress import IPv4Address

from ipos.abi import rows
from ipos.agent.heartbeat.member import Age
from ipos.agent.heartbeat.membership import Members
from ipos.agent.snapshot.recall import recalled
from ipos.agent.snapshot.snapshot import Advertised, Snapshot
from tests.agent.made_up_farm import KEY, MS, NOW_NS, WALL_MS, back, datagram, front, state

LONG_AGO_NS = NOW_NS - 3_600_000 * MS


def row(number: int, **fields: object) -> rows.Server:
    found: dict[str, object] = {
        "address": front(number), "back_ip": back(number), "mac": state(number).mac,
        "state": rows.ServerState.READY, "tcp_connections": 7, "updated_ns": LONG_AGO_NS,
        **fields,
    }  # fmt: skip
    return rows.Server(**found)  # type: ignore[arg-type]


def snapshot(*numbers: int) -> Snapshot:
    servers = [
        Advertised(n, f"s{n}", str(back(n)), [int(front(n)), int(front(10 + n))], ["web"], [])
        for n in numbers
    ]
    return Snapshot(farm="shop", me="s1", servers=servers)


def started(*numbers: int, discover: bool = False, **fields: object) -> Members:
    """s1's view right after a start; rows of these servers were in the maps."""
    made = Members("shop", KEY, back(1), discover)
    rows_found = {number: row(number, **fields) for number in (1, *numbers)}
    known = {IPv4Address(one.back_ip): index for index, one in rows_found.items()}
    made.expect([] if discover else [back(n) for n in (1, 2, 3)], known)
    made.recall(recalled(rows_found, snapshot(1, *numbers)), NOW_NS)
    return made


def test_who_is_in_the_maps_is_asked_and_stays_while_it_answers() -> None:
    farm = started(2)
    other = farm.by_ip[back(2)]
    assert other.age(NOW_NS) is Age.STALE
    assert not farm.all_heard(), "its own word may still come"
    assert other.state is not None
    assert other.state.services == ["web"]
    assert other.state.addresses == [int(front(2)), int(front(12))]
    assert other.state.tcp_connections == 7
    for after_ms in range(100, 10_000, 300):
        now_ns = NOW_NS + after_ms * MS
        assert farm.silent(now_ns) == [other], "nobody but its data plane is asked"
        farm.answered(back(2), state(2).mac, now_ns)
    assert other.age(now_ns) is Age.STALE


def test_who_does_not_answer_is_down_like_any_other() -> None:
    farm = started(2)
    other = farm.by_ip[back(2)]
    assert farm.silent(NOW_NS + 100 * MS) == [other]
    assert other.age(NOW_NS + 549 * MS) is Age.SUSPECTED
    assert other.age(NOW_NS + 550 * MS) is Age.DOWN
    farm.silent(NOW_NS + 550 * MS)
    farm.answered(back(2), state(2).mac, NOW_NS + 900 * MS)
    assert other.age(NOW_NS + 900 * MS) is Age.DOWN
    farm.forget_silent(NOW_NS + 900 * MS)
    assert back(2) in farm.by_ip, "the configuration expects it"


def test_its_own_word_is_newer() -> None:
    farm = started(2, 3)
    farm.hear_myself(state(1), NOW_NS)
    for number in (2, 3):
        raw = datagram(number, boot=1, sequence=1)
        assert farm.receive(raw, int(back(number)), NOW_NS + MS, WALL_MS)
    assert farm.all_heard()
    assert farm.by_ip[back(2)].age(NOW_NS + MS) is Age.FRESH


def test_who_was_down_must_speak() -> None:
    farm = started(2, state=rows.ServerState.DOWN)
    other = farm.by_ip[back(2)]
    assert other.age(NOW_NS) is Age.DOWN
    assert farm.silent(NOW_NS + 100 * MS) == []


def test_who_was_discovered_is_kept_with_its_number_or_forgotten() -> None:
    farm = started(2, 7, discover=True)
    assert {ip: member.index for ip, member in farm.by_ip.items()} == {
        back(1): 1,
        back(2): 2,
        back(7): 7,
    }
    farm.answered(back(7), state(7).mac, NOW_NS + 500 * MS)
    farm.forget_silent(NOW_NS + 900 * MS)
    assert set(farm.by_ip) == {back(1), back(7)}


def test_who_is_no_member_any_more_is_not_recalled() -> None:
    farm = started(2, 9)
    assert set(farm.by_ip) == {back(1), back(2), back(3)}


def test_without_a_snapshot_a_server_keeps_what_it_has() -> None:
    (found,) = recalled({2: row(2)}, Snapshot()).values()
    index, said, heard_ns = found
    assert (index, said.addresses, said.services, heard_ns) == (2, [int(front(2))], [], LONG_AGO_NS)
