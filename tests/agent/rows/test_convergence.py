# SPDX-License-Identifier: Apache-2.0
"""When the maps are written: at once when somebody's standing changes, else not at all."""

from typing import Any

import pytest

from ipos.abi import rows
from ipos.agent.heartbeat.member_faults import ALONE_NS
from ipos.agent.heartbeat.membership import Members
from ipos.agent.rows.convergence import Convergence
from ipos.agent.snapshot.snapshot import Snapshot
from ipos.config.schema import Config, Service
from ipos.kernel.maps import Tables
from tests.agent.made_up_farm import (
    KEY,
    MS,
    NOW_NS,
    WALL_MS,
    Memory,
    back,
    config,
    datagram,
    front,
    server_rows,
    state,
)


class Traffic:
    """The map `traffic`: `sent` by server's index, nothing has closed."""

    def __init__(self) -> None:
        self.sent = [0] * 4

    def first(self, count: int) -> bytes:
        return b"".join(sent.to_bytes(8, "little") + bytes(8) for sent in self.sent[:count])


class Running:
    """s1 of a farm of three."""

    def __init__(self, wanted: Config) -> None:
        self.memory = Memory()
        self.traffic = Traffic()
        self.members = Members("shop", KEY, back(1))
        self.tables: Tables = self.memory.tables()
        made: Any = self.traffic
        self.rows = Convergence(wanted, self.tables, made, self.members, Snapshot(), NOW_NS)
        self.turn = 0

    def speak(self, now_ns: int, **of_s2: Any) -> bool:
        """All speak; whether the maps were written anew."""
        self.turn += 1
        self.members.hear_myself(state(1, sequence=self.turn), now_ns)
        heard = [self.members.myself]
        for number, said in ((2, of_s2), (3, {})):
            member = self.members.receive(
                datagram(number, sequence=self.turn, **said), int(back(number)), now_ns, WALL_MS
            )
            assert member is not None
            heard.append(member)
        self.rows.said(heard, now_ns)
        return self.rows.converge(now_ns, prune=True, opening=True)


@pytest.fixture
def running() -> Running:
    return Running(config(Service(name="web", port=80, slow_start_ms=1000)))


def test_new_numbers_are_rows_of_server_state_and_nothing_else(running: Running) -> None:
    assert running.speak(NOW_NS)
    assert not running.speak(NOW_NS + 100 * MS)
    before = running.memory.writes
    assert not running.speak(NOW_NS + 200 * MS, tcp_connections=77)
    assert running.memory.writes == before + 3
    row = running.tables.servers.get(2)
    assert row is not None
    assert (row.tcp_connections, row.updated_ns) == (77, NOW_NS + 200 * MS)


def test_a_row_is_beside_what_had_been_sent_when_it_spoke(running: Running) -> None:
    running.traffic.sent[2] = 40
    running.speak(NOW_NS)
    running.traffic.sent[2] = 50
    row = running.tables.servers.get(2)
    assert row is not None
    assert row.base == 40


def test_a_change_is_written_at_once_and_so_is_silence(running: Running) -> None:
    running.speak(NOW_NS)
    running.speak(NOW_NS + 100 * MS)
    assert running.speak(NOW_NS + 200 * MS, services=[])
    assert [one.server for one in candidates(running)] == [1, 3]
    assert running.speak(NOW_NS + 300 * MS)
    assert not running.speak(NOW_NS + 400 * MS)
    running.members.hear_myself(state(1, sequence=90), NOW_NS + 1300 * MS)
    assert running.rows.converge(NOW_NS + 1300 * MS, prune=True, opening=False)
    ready, out, down = rows.ServerState.READY, rows.ServerState.MAINT, rows.ServerState.DOWN
    assert states(running) == [ready, out, out], "it may be this server that is cut off"
    running.members.hear_myself(state(1, sequence=91), NOW_NS + 1300 * MS + ALONE_NS)
    assert running.rows.converge(NOW_NS + 1300 * MS + ALONE_NS, prune=True, opening=False)
    assert states(running) == [ready, down, down]
    running.speak(NOW_NS + 9000 * MS)
    running.members.hear_myself(state(1, sequence=92), NOW_NS + 10_000 * MS)
    running.members.by_ip[back(3)].heard_ns += 1000 * MS
    assert running.rows.converge(NOW_NS + 10_000 * MS, prune=True, opening=False)
    assert states(running) == [ready, down, ready], "s3 is heard"


def states(running: Running) -> list[rows.ServerState]:
    found = server_rows(dict(running.tables.server_rows.items()))
    return [found[number].state for number in (1, 2, 3)]


def test_another_weight_is_written_at_once(running: Running) -> None:
    running.speak(NOW_NS)
    assert running.speak(NOW_NS + 100 * MS, weight=9)
    assert [one.weight for one in candidates(running)] == [1, 9, 1]
    assert not running.speak(NOW_NS + 200 * MS, weight=9)
    assert running.speak(NOW_NS + 300 * MS)
    assert [one.weight for one in candidates(running)] == [1, 1, 1]


def candidates(running: Running) -> list[rows.Candidate]:
    pool = running.tables.pools.get(0)
    assert pool is not None
    return list(pool.candidates)


def test_a_slow_start_goes_on_while_all_else_is_quiet(running: Running) -> None:
    running.speak(NOW_NS)
    running.speak(NOW_NS, services=[])
    running.rows.converge(NOW_NS + 9000 * MS, prune=True, opening=False)
    start_ns = NOW_NS + 10_000 * MS
    ramps = []
    for passed_ms in range(0, 1500, 100):
        running.speak(start_ns + passed_ms * MS)
        ramps.append({one.server: one.ramp for one in candidates(running)}[2])
    assert ramps == sorted(ramps)
    assert len(set(ramps)) > 5
    assert ramps[-1] == rows.RAMP_FULL


def test_what_could_not_be_written_is_tried_again(running: Running) -> None:
    running.speak(NOW_NS)
    running.speak(NOW_NS + 100 * MS)
    write = running.rows._writer.write

    def fail(*_: object, **__: object) -> None:
        raise OSError("no memory")

    running.rows._writer.write = fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no memory"):
        running.speak(NOW_NS + 200 * MS, services=[])
    running.rows._writer.write = write  # type: ignore[method-assign]
    assert running.rows.converge(NOW_NS + 210 * MS, prune=True, opening=True)
    assert [one.server for one in candidates(running)] == [1, 3]


def test_every_server_of_the_file_has_a_row_once_it_has_spoken(running: Running) -> None:
    running.speak(NOW_NS)
    known = {index: row.address for index, row in running.tables.servers.items()}
    assert known == {n: front(n) for n in (1, 2, 3)}
