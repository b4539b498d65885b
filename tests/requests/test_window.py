# SPDX-License-Identifier: Apache-2.0
"""The receive window against a plain model: a list with a hole for every missing byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spec.requests.window import PIECES_MAX, WINDOW, Insertion, Piece, ReceiveWindow

SEGMENTS = st.lists(st.tuples(st.integers(-2, 60), st.binary(max_size=12)), max_size=25)


def gaps(model: list[int | None]) -> list[tuple[int, int]]:
    """Where bytes are, as (start, end)."""
    runs: list[tuple[int, int]] = []
    for at, byte in enumerate(model):
        if byte is None:
            continue
        if runs and runs[-1][1] == at:
            runs[-1] = (runs[-1][0], at + 1)
        else:
            runs.append((at, at + 1))
    return runs


@given(SEGMENTS)
def test_the_window_holds_what_a_plain_list_holds(segments: list[tuple[int, bytes]]) -> None:
    window, model = ReceiveWindow(), list[int | None]([None] * 80)
    for offset, data in segments:
        before = window
        window, what = window.insert(offset, data)
        if offset < 0:
            assert (window, what) == (before, Insertion.OUTSIDE)
            continue
        after = list(model)
        for at, byte in enumerate(data, offset):
            if at >= before.held:
                after[at] = byte
        runs = gaps(after)
        beyond = [run for run in runs if run[0] > 0]
        was_there = all(model[at] is not None for at in range(offset, offset + len(data)))
        if was_there:
            # Only bytes that were not there yet count; what is held is left as it was.
            assert what is Insertion.DUPLICATE
            assert window == before
            continue
        if len(beyond) > PIECES_MAX:
            assert (window, what) == (before, Insertion.NO_ROOM)
            continue
        model = after
        in_order = runs[0][1] if runs and runs[0][0] == 0 else 0
        assert window.data == bytes(b for b in model[:in_order] if b is not None)
        assert [(p.start, p.end) for p in window.pieces] == beyond
        for piece in window.pieces:
            assert list(piece.data) == model[piece.start : piece.end]
        assert what is (Insertion.EXTENDED if window.held > before.held else Insertion.GAP)


@given(st.binary(min_size=1, max_size=60), st.integers(1, 9))
def test_pieces_in_reverse_make_the_whole(data: bytes, size: int) -> None:
    cuts = [(at, data[at : at + size]) for at in range(0, len(data), size)]
    reverse = ReceiveWindow()
    for offset, piece in reversed(cuts):
        reverse, what = reverse.insert(offset, piece)
        assert what in (Insertion.GAP, Insertion.EXTENDED)
    assert reverse == ReceiveWindow(data)


@pytest.mark.parametrize(
    ("offset", "length", "what", "held"),
    [
        (0, WINDOW, Insertion.EXTENDED, WINDOW),
        (0, WINDOW + 9, Insertion.EXTENDED, WINDOW),
        (WINDOW - 1, 2, Insertion.GAP, 0),
        (WINDOW, 1, Insertion.OUTSIDE, 0),
        (-1, 2, Insertion.OUTSIDE, 0),
        (0, 0, Insertion.DUPLICATE, 0),
    ],
)
def test_the_edges(offset: int, length: int, what: Insertion, held: int) -> None:
    window, happened = ReceiveWindow().insert(offset, bytes(length))
    assert (happened, window.held) == (what, held)
    assert all(piece.end <= WINDOW for piece in window.pieces)


def four_pieces() -> ReceiveWindow:
    window = ReceiveWindow()
    for offset in (10, 20, 30, 40):
        window, what = window.insert(offset, b"ab")
        assert what is Insertion.GAP
    return window


def test_a_fifth_piece_has_no_room_but_one_that_joins_two_has() -> None:
    window = four_pieces()
    assert window.insert(50, b"x") == (window, Insertion.NO_ROOM)
    joined, what = window.insert(12, b"12345678")
    assert what is Insertion.GAP
    assert joined.pieces[0] == Piece(10, b"ab12345678ab")
    assert len(joined.pieces) == 3


def test_bytes_in_order_never_change_and_later_copies_win_beyond_them() -> None:
    window, _ = ReceiveWindow().insert(0, b"GET ")
    window, _ = window.insert(2, b"XX/a")
    assert window.data == b"GET /a"
    window, _ = window.insert(8, b"old")
    window, what = window.insert(9, b"new!")
    assert (window.pieces, what) == ((Piece(8, b"onew!"),), Insertion.GAP)
