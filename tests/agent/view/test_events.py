# SPDX-License-Identifier: Apache-2.0
"""Decisions in words, and who is told of them."""

import pytest

from ipos.abi.layout import constant, header, layout
from ipos.agent.view import watchers
from ipos.agent.view.events import event, is_logged, more
from ipos.agent.view.watchers import Watching
from ipos.errors import IposError
from ipos.kernel import decisions
from tests.agent.running import Running
from tests.support.golden.machine import network

SHAPE = layout("ipos_decision")


def rule(number: int) -> str | None:
    return {2: "*/img/"}.get(number)


def record(port: int = 40001, host: bytes = b"", path: bytes = b"", **fields: object) -> bytes:
    """As the data plane writes it: by default s1 gives a request of web to s2."""
    values: dict[str, object] = {
        "length": SHAPE.size,
        "outcome": constant("IPOS_OUTCOME_NEW"),
        "reason": constant("IPOS_REASON_POLICY"),
        "service": 0,
        "server": 2,
        "first": 1,
        "when_ns": 5_000_000_000,
        "tuple": {
            "client_ip": network("10.99.0.11"),
            "service_ip": network("203.0.113.1"),
            "client_port": port,
            "service_port": 80,
            "protocol": 6,
        },
        "host_len": len(host),
        "path_len": len(path),
        "host": host,
        "path": path,
        **fields,
    }
    return SHAPE.pack(values)


def test_a_decision_in_words() -> None:
    snapshot = Running().snapshot
    assert event(record(), snapshot, 1_000_000_000, rule) == {
        "time": 6.0,
        "event": "new",
        "client": "10.99.0.11:40001",
        "service_address": "203.0.113.1:80",
        "service": "web",
        "method": None,
        "version": None,
        "host": None,
        "path": None,
        "route": None,
        "rule": None,
        "pool": None,
        "first_server": "s1",
        "server": "s2",
        "reason": "the policy's choice",
    }


@pytest.mark.parametrize(
    ("outcome", "server", "said"),
    [
        ("AGAIN", 3, ("again", "s3")),
        ("REFUSED", 0, ("refused", None)),
        ("TAKEN", 1, ("taken over", "s1")),
        ("MOVED", 9, ("moved", None)),
    ],
)
def test_every_outcome(outcome: str, server: int, said: tuple[str, str | None]) -> None:
    raw = record(outcome=constant(f"IPOS_OUTCOME_{outcome}"), server=server)
    told = event(raw, Running().snapshot, 0, rule)
    assert (told["event"], told["server"]) == said


def test_the_request_and_its_rule() -> None:
    raw = record(host=b"example.org", path=b"/img/x", rule=2, pool=0)
    told = event(raw, Running().snapshot, 0, rule)
    assert (told["host"], told["path"]) == ("example.org", "/img/x")
    assert (told["route"], told["rule"]) == (2, "*/img/")
    assert "cut" not in told
    gone = event(record(rule=7), Running().snapshot, 0, rule)
    assert (gone["route"], gone["rule"]) == (7, None)


def test_bytes_that_are_no_text_and_what_is_cut() -> None:
    flags = constant("IPOS_DECISION_PATH_CUT")
    told = event(record(path=b"/\xff\n\x7f", flags=flags), Running().snapshot, 0, rule)
    assert (told["path"], told["cut"]) == ("/%FF\n\x7f", ["path"])
    assert event(record(path="/b\u00fccher".encode()), Running().snapshot, 0, rule)["path"] == (
        "/b\u00fccher"
    )


def test_a_refused_head_says_what_its_client_is_told() -> None:
    raw = record(
        server=0,
        outcome=constant("IPOS_OUTCOME_REFUSED"),
        reason=constant("IPOS_REASON_HEAD"),
        refusal=3,
    )
    assert event(raw, Running().snapshot, 0, rule)["reason"] == "refused: a NUL byte"


def test_a_head_that_did_not_end_in_time_is_a_decision_of_the_agent() -> None:
    key = layout("ipos_tuple").pack(SHAPE.unpack(record())["tuple"])
    snapshot = Running().snapshot
    for logged in (True, False):
        raw = decisions.timed_out(key, 0, 1, 5_000_000_000, logged=logged)
        assert is_logged(raw) is logged
        told = event(raw, snapshot, 0, rule)
        assert (told["time"], told["event"], told["server"]) == (5.0, "refused", None)
        assert (told["client"], told["first_server"]) == ("10.99.0.11:40001", "s1")
        assert told["reason"] == "its head did not end in time"


def test_a_data_plane_of_another_version_is_understood() -> None:
    longer = record(length=SHAPE.size + 8) + b"12345678"
    assert decisions.decode(longer).server == 2
    short = record(length=40)[:40]
    decision = decisions.decode(short)
    assert (decision.server, decision.tuple.client_port, decision.path) == (2, 40001, bytes(128))


def test_every_reason_has_words_and_an_unknown_one_its_number() -> None:
    assert set(decisions.reasons()) == set(header().enums["ipos_reason"].values())
    assert event(record(reason=250), Running().snapshot, 0, rule)["reason"] == "reason 250"


class Ring:
    """A ring of a test: what is put into it is read once."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.closed = False

    def take(self, most: int) -> list[bytes]:
        taken, self.records = self.records[:most], self.records[most:]
        return taken

    def close(self) -> None:
        self.closed = True


def test_the_flag_stands_while_somebody_watches() -> None:
    switched: list[bool] = []
    ring = Ring()
    all_ = Watching(lambda: ring, switched.append)
    with all_.feed() as one:
        assert (switched[-1], all_.is_on) == (True, True)
        with all_.feed() as other:
            ring.records = [b"1", b"2"]
            assert one.take() == ([b"1", b"2"], 0)
            assert other.take() == ([b"1", b"2"], 0)
            assert one.take() == ([], 0)
        assert switched[-1] is True
        assert not ring.closed
    assert (switched[-1], all_.is_on, ring.closed) == (False, False, True)


def test_who_reads_the_access_log_sets_no_flag() -> None:
    switched: list[bool] = []
    ring = Ring()
    all_ = Watching(lambda: ring, switched.append)
    with all_.feed(watches=False) as logged:
        assert (switched, all_.is_on) == ([], False)
        with all_.feed() as one:
            ring.records = [b"1"]
            assert one.take() == logged.take() == ([b"1"], 0)
        assert (switched, all_.is_on, ring.closed) == ([True, False], False, False)
    assert ring.closed


def test_a_watcher_that_dies_leaves_the_flag_cleared() -> None:
    switched: list[bool] = []
    all_ = Watching(Ring, switched.append)
    with pytest.raises(RuntimeError), all_.feed():
        raise RuntimeError
    assert switched == [True, False]


def test_no_ring_is_said_and_sets_nothing() -> None:
    switched: list[bool] = []

    def none() -> Ring:
        raise IposError("run `ipos upgrade`")

    all_ = Watching(none, switched.append)
    with pytest.raises(IposError, match="ipos upgrade"), all_.feed():
        pass
    assert (switched, all_.is_on) == ([], False)


def test_who_is_slow_is_told_how_much_it_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchers, "KEPT", 3)
    ring = Ring()
    all_ = Watching(lambda: ring, lambda on: None)
    with all_.feed() as quick, all_.feed() as slow:
        for _ in range(2):
            ring.records = [b"1", b"2"]
            quick.take()
        assert slow.take() == ([b"1", b"2", b"1"], 1)
        assert slow.take() == ([], 0)
    assert more(7, 1.5) == {"time": 1.5, "event": "more", "count": 7}
