# SPDX-License-Identifier: Apache-2.0
"""A few seconds of `make fuzz`, with fixed seeds."""

from __future__ import annotations

import random
from contextlib import closing

import pytest

from fuzz import (
    approved,
    containers,
    endpoints,
    flows,
    frames,
    given,
    idle,
    kernel,
    locating,
    moves,
    selection,
    sessions,
    settled,
)
from tests.support import heads, responses
from tests.support.golden import packets as golden
from tests.support.golden.kernel_machine import kernel_machine
from tests.support.golden.rows_close import SENT
from tests.support.golden.rows_migration import HEAD_END


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_unattached_endpoints_against_the_oracle(seed: int) -> None:
    count, found = endpoints.run(seed, 3_000)
    assert count >= 3_000
    assert not found


def test_frames_against_the_oracle() -> None:
    count, found = frames.run(1, 3_000)
    assert count == 3_000
    assert not found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_flows_of_udp_against_the_oracle(seed: int) -> None:
    count, found = flows.run(seed, 1_500)
    assert count >= 1_500
    assert not found


@pytest.mark.parametrize("seed", [1, 2])
def test_containers_against_the_oracle(seed: int) -> None:
    count, found = containers.run(seed, 200)
    assert count == 200
    assert not found, "\n".join(found)


@pytest.mark.parametrize("seed", [1, 2])
def test_request_heads_against_the_oracle(seed: int) -> None:
    count, found = heads.run(seed, 10_000)
    assert count == 10_000
    assert not found


@pytest.mark.parametrize("seed", [1, 2])
def test_responses_against_the_oracle(seed: int) -> None:
    count, found = responses.run(seed, 3_000)
    assert count == 3_000
    assert not found


def test_moves_against_the_oracle() -> None:
    count, found = moves.run(1, 500)
    assert count == 500
    assert not found


def test_idle_connections_against_the_oracle() -> None:
    count, found = idle.run(1, 500)
    assert count == 500
    assert not found, "\n".join(found)


def test_connections_given_away_against_the_oracle() -> None:
    count, found = given.run(1, 1_000)
    assert count == 1_000
    assert not found


def test_connections_left_alone_against_the_same_looked_at() -> None:
    count, found = settled.run(1, 1_500)
    assert count >= 1_500
    assert not found


def test_packets_of_unknown_connections_against_the_oracle() -> None:
    count, found = locating.run(1, 1_500)
    assert count >= 1_500
    assert not found, "\n".join(found)


def test_selection_against_the_oracle() -> None:
    count, found = selection.run(1, 500)
    assert count == 500
    assert not found


def test_sessions_against_the_oracle() -> None:
    count, found = sessions.run(1, 3_000)
    assert count == 3_000
    assert not found


@pytest.mark.farm
def test_ebpf_against_the_library() -> None:
    with kernel_machine() as machine:
        count, found = kernel.run(machine, 1, 3_000)
    assert count >= 3_000
    assert not found


def test_a_difference_in_locating_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spec.requests.locating.QUESTION_NS", 51_000_000)
    _, found = locating.run(1, 1_500)
    assert found


def test_a_difference_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison compares: an oracle with another window is told apart."""
    monkeypatch.setattr("spec.handshake.answers.WINDOW", 14_599)
    _, found = endpoints.run(1, 200)
    assert any("answer" in text for text in found)


@pytest.mark.parametrize("seed", [1, 2])
def test_an_application_reads_only_what_was_approved(seed: int) -> None:
    count, found = approved.run(seed, 80)
    assert count == 80
    assert not found


def test_a_socket_without_memory_keeps_no_packet_going_round() -> None:
    """What its kernel does not take comes by a few times, and then no more."""
    rng = random.Random(1)
    server = approved.begin(rng, 1.0)
    with closing(server.machine):
        two = approved.fit(rng) + approved.fit(rng) + b"GET /"
        server.receives(golden.client("PA", two, seq=HEAD_END, ack=SENT))
        server.settles()
        assert not server.kernel.read
        assert server.machine.counters()["READ_AGAIN"] > 1
