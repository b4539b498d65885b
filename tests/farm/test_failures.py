# SPDX-License-Identifier: Apache-2.0
"""Applications that are full, stopped, restarted or gone: answered elsewhere or reset at once."""

import os
import select
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from ipos.lab import Lab, Settings, faults
from tests.farm.clients.few import BACKLOG
from tests.support.farm import (
    CONFIG,
    ELSEWHERE,
    HERE,
    SERVERS,
    Farm,
    read_answer,
    readable,
    request,
    wait_until,
)

pytestmark = pytest.mark.farm

AT_ONCE_S = 3.0
"""Nobody waits for a time limit of the farm's, of which the shortest is five seconds."""
"""What nobody would call a hang, on a busy machine."""

_FEW = f"exec {sys.executable} {Path(__file__).parent / 'clients' / 'few.py'} 80"
_ONE_SERVICE = """\
[[service]]
name = "web"
port = 80
policy = "round-robin"
"""


@pytest.fixture(scope="module")
def _module_farm() -> Iterator[Farm]:
    with Lab(Settings(name=f"ft{os.getpid()}-f", config=CONFIG)) as lab:
        yield Farm(lab)


@pytest.fixture
def farm(_module_farm: Farm) -> Farm:
    """A farm of its own: these tests end applications."""
    wait_until("every server ready", _module_farm.ready)
    wait_until("every application listens", lambda: _candidates(_module_farm) == 3)
    return _module_farm


def _candidates(farm: Farm) -> int:
    """How many servers every server knows to choose from, for the first service."""
    pools = [tables.pools.get(0) for tables in farm.tables.values()]
    counts = {len(pool.candidates) for pool in pools if pool}
    return counts.pop() if len(counts) == 1 else -1


@pytest.fixture(scope="module")
def _module_few() -> Iterator[Farm]:
    with Lab(Settings(name=f"ft{os.getpid()}-q", config=_ONE_SERVICE, app=_FEW)) as lab:
        yield Farm(lab)


@pytest.fixture
def few(_module_few: Farm) -> Farm:
    """A farm whose applications have short accept queues."""
    _module_few.wait_idle()
    return _module_few


def outcome(farm: Farm, port: int = 80, server: str = "s1", patience_s: float = 5.0) -> str:
    """Who answered one request, "nobody" for a 503, "reset", or "hang" after a while."""
    connection = farm.unconnected()
    connection.settimeout(patience_s)
    try:
        with farm.connect(port, server, connection):
            connection.sendall(request())
            answer = read_answer(connection)
            return "nobody" if answer.status == 503 else answer.served_by
    except (ConnectionResetError, ConnectionRefusedError, BrokenPipeError):
        return "reset"
    except TimeoutError:
        return "hang"
    except AssertionError:
        return "cut"  # the end of the stream inside an answer


def _accepted(farm: Farm) -> Counter[str]:
    """How often each client address and port has been accepted, by all servers."""
    found: Counter[str] = Counter()
    for place in farm.lab.places():
        log = place.run_dir / "accepted"
        found.update(log.read_text().split() if log.exists() else [])
    return found


def test_a_full_accept_queue_is_passed_by(few: Farm) -> None:
    before = _accepted(few)
    faults.stop_applications(few.lab, "s2")
    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(outcome, few, 80, "s1", 20.0) for _ in range(60)]
        wait_until(
            "all but the queue of s2 answered",
            lambda: sum(one.done() for one in waiting) >= 60 - (BACKLOG + 2),
        )
        early = Counter(one.result() for one in waiting if one.done())
        assert set(early) == {"s1", "s3"}
        assert few.counters("s1")["chosen_again"] >= few.counters("s2")["refused"] > 0
        faults.continue_applications(few.lab, "s2")
        assert {one.result() for one in waiting} <= set(SERVERS)
    assert set((_accepted(few) - before).values()) == {1}, "never two accepts"


def test_all_accept_queues_full_waits_for_room(few: Farm) -> None:
    """As a kernel's own full queue does: whoever is sent nothing asks again."""
    before, told = _accepted(few), few.counters("s1")
    for server in SERVERS:
        faults.stop_applications(few.lab, server)
    try:
        waiting = [few.connect() for _ in range(3 * (BACKLOG + 2) + 10)]
        for connection in waiting:
            connection.sendall(request())
        wait_until("some found no room", lambda: few.counters("s1")["asked_later"]
                   > told["asked_later"])  # fmt: skip
    finally:
        for server in SERVERS:
            faults.continue_applications(few.lab, server)
    for connection in waiting:
        with connection:
            assert read_answer(connection).status == 200
    assert set((_accepted(few) - before).values()) == {1}


def test_a_hundred_clients_at_once_find_room(few: Farm) -> None:
    before = _accepted(few)
    with ThreadPoolExecutor(100) as pool:
        results = [pool.submit(outcome, few, 80, "s1", 20.0) for _ in range(300)]
        assert {result.result() for result in results} <= set(SERVERS)
    assert set((_accepted(few) - before).values()) == {1}


@pytest.mark.slow
def test_two_thousand_clients_at_once_find_room(farm: Farm) -> None:
    """More than nginx's backlog of 511 has room for, all in one moment and for one server."""
    clients = [farm.unconnected() for _ in range(2_000)]
    answered = Counter[str]()
    with ExitStack() as stack, select.epoll() as events:
        for client in clients:
            stack.enter_context(client).setblocking(False)
            client.connect_ex((farm.address("s1"), HERE))
            events.register(client, select.EPOLLOUT)
        waiting = {client.fileno(): client for client in clients}
        until = time.monotonic() + 60
        while waiting and time.monotonic() < until:
            for number, what in events.poll(1):
                client = waiting[number]
                if what == select.EPOLLOUT:
                    client.sendall(request())
                    events.modify(client, select.EPOLLIN)
                    continue
                try:
                    answered[client.recv(65_536)[9:12].decode() or "end"] += 1
                except ConnectionError:
                    answered["reset"] += 1
                events.unregister(waiting.pop(number))
    assert answered == {"200": 2_000}


class Load:
    """Requests from several threads, one connection each, until told to stop."""

    def __init__(self, farm: Farm, port: int = 80) -> None:
        self.outcomes: Counter[str] = Counter()
        self.slowest_s = 0.0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(farm, port, SERVERS[i % 3])) for i in range(6)
        ]

    def _run(self, farm: Farm, port: int, server: str) -> None:
        while not self._stop.is_set():
            started = time.monotonic()
            result = outcome(farm, port, server)
            with self._lock:
                self.outcomes[result] += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - started)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        self.more(50)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int) -> None:
        """Wait until so many requests have come to an end since now."""
        goal = self.outcomes.total() + count
        wait_until(f"{count} requests", lambda: self.outcomes.total() >= goal, 30)


def _sound(load: Load, lost: int) -> None:
    """No hang; resets only of what a dying application had in its hands."""
    assert load.outcomes["hang"] == 0, load.outcomes
    failed = load.outcomes["reset"] + load.outcomes["cut"] + load.outcomes["nobody"]
    assert failed <= lost, load.outcomes


def test_an_application_that_dies_under_load(farm: Farm) -> None:
    with Load(farm) as load:
        faults.kill_applications(farm.lab, "s2")
        load.more(300)
        before = load.outcomes.copy()
        load.more(300)
        after = load.outcomes - before
        farm.lab.start_applications("s2")
        wait_until("s2 answers again", lambda: load.outcomes["s2"] > before["s2"])
    # One request of each of the six threads may have been in the application's hands.
    _sound(load, 6)
    assert set(after) == {"s1", "s3"}, after


def test_an_application_that_is_restarted_under_load(farm: Farm) -> None:
    with Load(farm) as load:
        for server in ("s1", "s2", "s3"):
            faults.restart_applications(farm.lab, server)
            # One after the other, as an operator does: not before the last one is known again.
            wait_until("everybody listens", lambda: _candidates(farm) == 3)
            load.more(200)
    _sound(load, 3 * 6)
    assert {"s1", "s2", "s3"} <= set(load.outcomes)


def test_all_applications_gone_is_said_at_once(farm: Farm) -> None:
    for server in SERVERS:
        faults.kill_applications(farm.lab, server)
    try:
        for _ in range(3):
            for server in SERVERS:
                started = time.monotonic()
                assert outcome(farm, 80, server) in ("nobody", "reset")  # the SYN already
                assert time.monotonic() - started < AT_ONCE_S
        wait_until("nobody listens", lambda: _candidates(farm) == 0)
        started = time.monotonic()
        with pytest.raises(ConnectionRefusedError):
            farm.connect()
        assert time.monotonic() - started < AT_ONCE_S
    finally:
        for server in SERVERS:
            farm.lab.start_applications(server)
    wait_until("everybody listens", lambda: _candidates(farm) == 3)
    assert outcome(farm) in SERVERS


@pytest.mark.parametrize(("port", "owner"), [(HERE, "s1"), (ELSEWHERE, "s2")])
def test_clients_that_leave_before_their_answers(farm: Farm, port: int, owner: str) -> None:
    """Each answer meets a client that is gone, whose reset comes while the application writes."""
    farm.wait_idle()
    adopted = farm.counters(owner)["adopted"]
    faults.stop_applications(farm.lab, owner)
    try:
        clients = [farm.connect(port) for _ in range(20)]
        for client in clients:
            client.sendall(request(close=False))
        wait_until("all adopted", lambda: farm.counters(owner)["adopted"] == adopted + 20)
        for client in clients:
            client.close()
    finally:
        faults.continue_applications(farm.lab, owner)
    farm.wait_idle()


def test_a_server_that_loses_power_resets_only_its_own(farm: Farm) -> None:
    with farm.connect(ELSEWHERE) as away, farm.connect(8001) as here:
        for connection in (away, here):
            connection.sendall(request(close=False))
            read_answer(connection)
        faults.cut_power(farm.lab, "s2")
        try:
            away.sendall(request(close=False))
            assert readable(away, 5), "neither an answer nor a reset"
            with pytest.raises(ConnectionResetError):
                away.recv(1)
            here.sendall(request(close=False))
            assert read_answer(here).served_by == "s1"
            assert {outcome(farm) for _ in range(20)} <= {"s1", "s3"}
        finally:
            faults.restore_power(farm.lab, "s2")
    wait_until("s2 is back", farm.ready, 20)


def test_a_server_without_its_agent_goes_on(farm: Farm) -> None:
    """What the agent has loaded stays; its server's row grows old and nobody new is sent there."""
    faults.kill_agent(farm.lab, "s1")
    try:
        assert {outcome(farm) for _ in range(30)} <= set(SERVERS)
        assert outcome(farm, ELSEWHERE) == "s2"
    finally:
        farm.lab.start_agent("s1")
    wait_until("every server ready", farm.ready, 20)
    assert outcome(farm) in SERVERS
