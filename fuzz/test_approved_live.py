# SPDX-License-Identifier: Apache-2.0
"""What real sockets of a farm received is what its data planes approved: a few seconds of it."""

from __future__ import annotations

import os

import pytest

from fuzz.approved_live import bench, run
from fuzz.received import Received, Seen, judged
from fuzz.schedules import line

GET = line(b"GET", "s1", b"0/00") + b"\r\n"
SAID = (b"s1.example", b"/0/00")


def _seen(*sockets: bytes, decided: tuple[tuple[bytes, bytes], ...] = (SAID,)) -> Seen:
    seen = Seen()
    seen.received["s1"] = [Received(data, "") for data in sockets]
    seen.decided["s1"] = list(decided)
    return seen


def test_a_difference_is_told() -> None:
    other = line(b"GET", "s2", b"0/01")
    assert not judged(_seen(GET))
    assert not judged(_seen(b"", GET[:20], decided=(SAID, SAID)))
    assert "approved were" in judged(_seen(GET, decided=()))
    assert "approved were" in judged(_seen(GET + GET))
    assert "s2.example" in judged(_seen(GET + other + b"\r\n", decided=(SAID, SAID)))
    assert "s2.example" in judged(_seen(GET + other))


@pytest.mark.farm
def test_real_sockets_receive_what_was_approved() -> None:
    with bench(f"al{os.getpid()}") as place:
        tally, found = run(place, 1, 60)
    assert not found
    assert tally["requests read"] > 200
