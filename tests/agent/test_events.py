# SPDX-License-Identifier: Apache-2.0
"""Decisions in words, and who is told of them."""

import pytest

from ipos.agent import watching
from ipos.agent.events import event, more
from ipos.agent.watching import Watching
from ipos.errors import IposError
from ipos.inic import decisions
from ipos.inic.layout import constant, header, layout
from tests.agent.running import Running
from tests.golden.machine import network

SHAPE = layout("ipos_decision")


def record(port: int = 40001, text: bytes = b"", **fields: object) -> bytes:
    """As the data plane writes it: by default s1 gives a request of web to s2."""
    values: dict[str, object] = {
        "length": SHAPE.size,
        "text": len(text),
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
        **fields,
    }
    return SHAPE.pack(values) + text


def test_a_decision_in_words() -> None:
    snapshot = Running().snapshot
    assert event(record(), snapshot, 1_000_000_000) == {
        "time": 6.0,
        "event": "new",
        "client": "10.99.0.11:40001",
        "service_address": "203.0.113.1:80",
        "service": "web",
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
    told = event(raw, Running().snapshot, 0)
    assert (told["event"], told["server"]) == said


def test_text_behind_the_struct_is_the_request() -> None:
    told = event(record(text=b"example.org/img\xff"), Running().snapshot, 0)
    assert told["request"] == "example.org/img\N{REPLACEMENT CHARACTER}"


def test_a_data_plane_of_another_version_is_understood() -> None:
    longer = record(length=SHAPE.size + 8, text=b"")
    decision, text = decisions.decode(longer + b"12345678")
    assert (decision.server, text) == (2, b"")
    short = record(length=SHAPE.size - 8)[:-8]
    decision, _ = decisions.decode(short)
    assert (decision.server, decision.tuple.client_port) == (2, 0)


def test_every_reason_has_words_and_an_unknown_one_its_number() -> None:
    assert set(decisions.reasons()) == set(header().enums["ipos_reason"].values())
    assert event(record(reason=250), Running().snapshot, 0)["reason"] == "reason 250"


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
    monkeypatch.setattr(watching, "KEPT", 3)
    ring = Ring()
    all_ = Watching(lambda: ring, lambda on: None)
    with all_.feed() as quick, all_.feed() as slow:
        for _ in range(2):
            ring.records = [b"1", b"2"]
            quick.take()
        assert slow.take() == ([b"1", b"2", b"1"], 1)
        assert slow.take() == ([], 0)
    assert more(7, 1.5) == {"time": 1.5, "event": "more", "count": 7}
