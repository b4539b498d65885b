# SPDX-License-Identifier: Apache-2.0
"""Frames between hosts, drawn."""

import pytest

from ipos.ladder.ladder import Rung, draw

HOSTS = ("client", "s1", "s2")

PICTURE = """\
ms     client               s1                 s2
    0.000 │ SYN ────────────▶│                  │
    0.031 │◀──────── SYN-ACK │                  │
   12.500 │                  │ type 1 ─────────▶│
   13.000 │◀─────────────────┼───────── 2 bytes │"""


def test_every_frame_runs_from_its_sender_to_its_receiver() -> None:
    rungs = [
        Rung(0, "client", "s1", "SYN"),
        Rung(0.0312, "s1", "client", "SYN-ACK"),
        Rung(12.5, "s1", "s2", "type 1"),
        Rung(13, "s2", "client", "2 bytes"),
    ]
    assert draw(rungs, HOSTS) == PICTURE


def test_a_long_label_widens_the_ladder_and_stays_whole() -> None:
    label = "a label of thirty characters .."
    line = draw([Rung(0, "client", "s1", label), Rung(1, "s2", "s1", label)], HOSTS).splitlines()
    assert f"│ {label} ─▶│" in line[1]
    assert f"│◀─ {label} │" in line[2]


def test_no_frames_make_no_rungs() -> None:
    assert draw([], HOSTS).split() == ["ms", "client", "s1", "s2"]


def test_a_stranger_is_refused() -> None:
    with pytest.raises(KeyError):
        draw([Rung(0, "client", "s9", "SYN")], HOSTS)
