# SPDX-License-Identifier: Apache-2.0
"""`ipos status`: one line of verdict first, and nothing wider than a terminal."""

import copy
from typing import Any

import pytest

from ipos.cli import status
from ipos.cli.text_table import amount, seconds

_SERVER = {
    "server": "s1",
    "state": "ready",
    "stale": False,
    "weight": 1,
    "weight_set": None,
    "address": "203.0.113.111",
    "back_address": "10.77.0.1",
    "tcp_connections": 123456,
    "cpu_utilisation": 0.512,
    "available_memory": 13716029440,
    "available_bandwidth": 9999999037,
    "services": ["web"],
    "age": 0.035,
    "fault": None,
}
DOCUMENT: dict[str, Any] = {
    "farm": "shop",
    "server": "s1",
    "agent": "running",
    "programs": "current",
    "servers": [
        {**_SERVER, "server": f"server-{n}", "address": f"203.0.113.10{n}"} for n in range(1, 7)
    ],
    "services": [
        {
            "service": "web",
            "port": 80,
            "select": "request",
            "policy": "least-connections",
            "application": "0.0.0.0:80",
            "servers": [f"203.0.113.10{n}" for n in range(1, 7)],
        }
    ],
    "addresses": [
        {
            "address": "203.0.113.101",
            "server": "server-1",
            "holder": None,
            "since": None,
            "why": "nobody",
        }
    ],
    "connections": {"local": 3, "forward_connect": 0, "forward": 2, "temporary": 0, "held": 0},
    "troubles": [],
    "undone": [],
}


def _printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, form: str, document: Any
) -> list[str]:
    monkeypatch.setattr("ipos.cli.fallback.ask_or_read", lambda *_: document)
    status.status(status.Form(form))
    return capsys.readouterr().out.splitlines()


def test_the_verdict_comes_first_and_every_line_fits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["troubles"] = ["10.77.0.9: " + "its tag is wrong, " * 12]
    document["servers"][0]["stale"] = True
    lines = _printed(capsys, monkeypatch, "text", document)
    assert lines[0] == ("1 fault: 6 of 6 servers ready, seen by s1 of farm shop, agent running")
    assert lines[1].startswith("FAULT  10.77.0.9: its tag is wrong")
    assert max(map(len, lines)) <= status.WIDTH
    assert any("server-1, server-2, server-3, 3 more" in line for line in lines)


def test_wide_has_every_column(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = _printed(capsys, monkeypatch, "wide", DOCUMENT)
    assert lines[0].startswith("all well: 6 of 6")
    assert "available bandwidth" in lines[2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"agent": "not running"}, "start the agent"),
        ({"programs": "other"}, "ipos upgrade"),
        ({"undone": ["cannot write"]}, "cannot write"),
        ({"troubles": ["web is not well: HTTP 404"]}, "HTTP 404"),
    ],
)
def test_what_is_wrong_is_counted_and_said(change: dict[str, Any], said: str) -> None:
    document = DOCUMENT | change
    assert status.verdict(document).startswith("1 fault: ")
    assert [said in one for one in status.faults_of(document)] == [True]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1024, "1 KiB"), (13716029440, "12.8 GiB"), (2**50, "1024 TiB")],
)
def test_amounts(number: int, text: str) -> None:
    assert amount(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.035, "0.035 s"),
        (9.96, "10 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (1e6, "11 d"),
    ],
)
def test_times(number: float, text: str) -> None:
    assert seconds(number) == text
