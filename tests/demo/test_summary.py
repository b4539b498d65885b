# SPDX-License-Identifier: Apache-2.0
"""The demo's last word."""

import json
from dataclasses import replace

import pytest

from ipos.demo.recording import Recording
from ipos.demo.summary import Outcome, as_json, as_text
from ipos.demo.tally import Tally
from ipos.ladder.ladder import Rung

TALLY = Tally(
    requests=100, migrated=60, answered_by={"s2": 30, "s1": 40, "s3": 30}, clients=["10.99.0.11"]
)
OUTCOME = Outcome(
    tally=TALLY,
    first="s1",
    address="203.0.113.1",
    drained="s2",
    after={"s1": 5, "s2": 0, "s3": 6},
    client="10.99.0.11",
    seconds=10,
    recording=Recording("s1", "s3", [Rung(0, "client", "s1", "SYN")]),
)


def test_json_is_one_object_of_five_members() -> None:
    assert json.loads(as_json(OUTCOME)) == {
        "requests": 100,
        "failures": 0,
        "migrated": 60,
        "answered_by": {"s1": 40, "s2": 30, "s3": 30},
        "client_address_seen": True,
    }


def test_text_says_it_all_and_draws_the_connection() -> None:
    text = as_text(OUTCOME)
    for part in ("SYN ─", "answered by s3", "60 (60%)", "s1 5, s2 0, s3 6", "10.99.0.11"):
        assert part in text


@pytest.mark.parametrize(
    ("tally", "succeeded"),
    [
        (TALLY, True),
        (replace(TALLY, failures=1), False),
        (replace(TALLY, migrated=0), False),
    ],
)
def test_success_is_no_failure_and_some_migration(tally: Tally, succeeded: bool) -> None:
    assert replace(OUTCOME, tally=tally).succeeded is succeeded


@pytest.mark.parametrize("clients", [[], ["203.0.113.254"], ["10.99.0.11", "203.0.113.254"]])
def test_another_address_than_the_clients_own_shows(clients: list[str]) -> None:
    outcome = replace(OUTCOME, tally=replace(TALLY, clients=clients))
    assert outcome.client_address_seen is False


def test_faults_are_told_in_words() -> None:
    failed = replace(TALLY, failures=1, faults=["ConnectionResetError: by peer"])
    assert "ConnectionResetError: by peer" in as_text(replace(OUTCOME, tally=failed))
