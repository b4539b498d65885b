# SPDX-License-Identifier: Apache-2.0
"""A few seconds of `make fuzz`, with fixed seeds."""

from __future__ import annotations

import pytest

from fuzz import (
    endpoints,
    frames,
    given,
    heads,
    kernel,
    moves,
    responses,
    selection,
    sessions,
    settled,
)
from tests.golden.kernel_machine import kernel_machine


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_unattached_endpoints_against_the_oracle(seed: int) -> None:
    count, found = endpoints.run(seed, 3_000)
    assert count >= 3_000
    assert not found


def test_frames_against_the_oracle() -> None:
    count, found = frames.run(1, 3_000)
    assert count == 3_000
    assert not found


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


def test_connections_given_away_against_the_oracle() -> None:
    count, found = given.run(1, 1_000)
    assert count == 1_000
    assert not found


def test_connections_left_alone_against_the_same_looked_at() -> None:
    count, found = settled.run(1, 1_500)
    assert count >= 1_500
    assert not found


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


def test_a_difference_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison compares: an oracle with another window is told apart."""
    monkeypatch.setattr("ipos.handshake.answers.WINDOW", 14_599)
    _, found = endpoints.run(1, 200)
    assert any("answer" in text for text in found)
