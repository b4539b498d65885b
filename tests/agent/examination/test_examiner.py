# SPDX-License-Identifier: Apache-2.0
"""Three servers examine themselves for one, over a network of queues without a kernel."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ipos.agent.examination import findings_message
from ipos.agent.examination.examiner import Examiner
from ipos.agent.examination.findings_message import FINDINGS_MAX, Question, Said
from ipos.agent.heartbeat.datagrams import Source
from ipos.agent.heartbeat.membership import Members
from ipos.agent.host.own_state import boottime_ns
from ipos.agent.loop.tasks import Tasks
from tests.agent.made_up_farm import KEY, back, datagram, state

BAD = Said("mtu", "The MTU of back is 1400.")


class Network:
    """`lost`: says which datagrams do not arrive, by sender, receiver and how often it was sent."""

    def __init__(self) -> None:
        self.servers: dict[str, Examiner] = {}
        self.lost: Callable[[int, bytes], bool] = lambda sender, data: False
        self.sent: list[tuple[int, bytes]] = []

    def sender(self, number: int) -> Callable[[bytes, tuple[str, int]], None]:
        def send(data: bytes, to: tuple[str, int]) -> None:
            self.sent.append((number, data))
            if self.lost(number, data) or to[0] not in self.servers:
                return
            source = Source(str(back(number)), to[1], int(back(number)))
            asyncio.get_running_loop().call_soon(self.servers[to[0]].receive, data, source)

        return send


class Hosts:
    """What each server finds, by number, and how often it looked."""

    def __init__(self, **found: Sequence[Said]) -> None:
        self.found = found
        self.looks: list[str] = []

    def look(self, name: str) -> Callable[[], Sequence[Said]]:
        def look() -> Sequence[Said]:
            self.looks.append(name)
            found = self.found[name]
            if not found:
                return []
            if found[0].check == "boom":
                raise ValueError("a ruleset that nobody has seen before")
            return found

        return look


def farm(network: Network, hosts: Hosts, *, unheard: Sequence[int] = ()) -> list[Examiner]:
    made, wall_ms, now_ns = [], time.time_ns() // 1_000_000, boottime_ns()
    for me in (1, 2, 3):
        members = Members("shop", KEY, back(me))
        members.expect([back(n) for n in (1, 2, 3)])
        members.hear_myself(state(me), now_ns)
        for n in {1, 2, 3} - {me, *unheard}:
            said = datagram(n, sent_ms=wall_ms, boot=wall_ms)
            assert members.receive(said, int(back(n)), now_ns, wall_ms)
        made.append(Examiner(members, KEY, network.sender(me), Tasks(), hosts.look(f"s{me}")))
        network.servers[str(back(me))] = made[-1]
    return made


def ask(network: Network, hosts: Hosts, patience_s: float = 30, **how: Any) -> list[dict[str, Any]]:
    async def one() -> list[dict[str, Any]]:
        return await farm(network, hosts, **how)[0].ask_all(patience_s)

    return asyncio.run(one())


def test_every_server_says_what_it_has_found() -> None:
    many = [Said(f"check {n}", "x" * 300) for n in range(FINDINGS_MAX + 2)]
    rows = ask(Network(), Hosts(s1=[], s2=[BAD], s3=many))
    assert [row["server"] for row in rows] == ["s1", "s2", "s3"]
    assert all(row["answered"] for row in rows)
    assert rows[0]["findings"] == []
    assert rows[1]["findings"] == [{"check": "mtu", "message": BAD.message, "seen": True}]
    assert [one["check"] for one in rows[2]["findings"]] == [one.check for one in many][:-2]
    assert rows[2]["left_out"] == 2


def test_what_is_lost_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipos.agent.examination.examiner.AGAIN_S", 0.01)
    network = Network()
    times: dict[tuple[int, bytes], int] = {}

    def first_is_lost(sender: int, data: bytes) -> bool:
        times[sender, data[:1]] = times.get((sender, data[:1]), 0) + 1
        return times[sender, data[:1]] == 1

    network.lost = first_is_lost
    hosts = Hosts(s1=[], s2=[BAD], s3=[BAD])
    assert [len(row["findings"]) for row in ask(network, hosts)] == [0, 1, 1]
    assert sorted(hosts.looks) == ["s1", "s2", "s3"]  # asked twice, and examined once


def test_who_does_not_answer_is_named_with_the_reason() -> None:
    network = Network()
    network.lost = lambda sender, data: sender == 3 and data[:1] == b"F"
    rows = ask(network, Hosts(s1=[], s2=[], s3=[]), patience_s=0.2)
    assert [row["answered"] for row in rows] == [True, True, False]
    assert rows[2]["why"].startswith("it did not answer within 0 s")


def test_nobody_waits_for_a_server_that_was_never_heard() -> None:
    network = Network()
    network.lost = lambda sender, data: sender == 3
    rows = ask(network, Hosts(s1=[], s2=[], s3=[]), patience_s=600, unheard=[3])
    assert [row["answered"] for row in rows] == [True, True, False]
    assert rows[2]["why"].startswith("it was never heard of")


def test_an_examination_that_fails_is_a_finding_and_the_agent_lives() -> None:
    rows = ask(Network(), Hosts(s1=[], s2=[Said("boom", "")], s3=[]))
    assert rows[1]["answered"]
    assert "nobody has seen before" in rows[1]["findings"][0]["message"]


def test_strangers_and_others_findings_are_not_heard() -> None:
    async def attempt() -> tuple[list[str], list[tuple[int, bytes]]]:
        network, hosts = Network(), Hosts(s1=[], s2=[], s3=[])
        first = farm(network, hosts)[0]
        now_ms = time.time_ns() // 1_000_000
        stranger = Source("10.77.0.99", 7077, int(back(99)))
        question = findings_message.encode(Question(1), now_ms, KEY)
        assert first.receive(question, stranger)
        member = Source(str(back(2)), 7077, int(back(2)))
        assert first.receive(findings_message.encode(Question(1), now_ms, bytes(32)), member)
        assert first.receive(
            findings_message.encode(findings_message.answers(1, [BAD])[0], now_ms, KEY), member
        )
        assert not first.receive(b"Qsomething else", member)
        await asyncio.sleep(0)
        return hosts.looks, network.sent

    assert asyncio.run(attempt()) == ([], [])


def test_however_many_ask_a_server_looks_once() -> None:
    async def attempt() -> list[str]:
        hosts = Hosts(s1=[], s2=[BAD], s3=[])
        first, second, _ = farm(Network(), hosts)
        await asyncio.gather(first.ask_all(30), second.ask_all(30), first.ask_all(30))
        return hosts.looks

    assert sorted(asyncio.run(attempt())) == ["s1", "s2", "s3"]
