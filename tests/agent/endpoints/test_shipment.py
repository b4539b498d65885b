# SPDX-License-Identifier: Apache-2.0
"""Bytes arrive whole, whatever is lost, doubled or late."""

import random

import pytest

from ipos.agent.endpoints.shipment import WINDOW, Receiver, Sender
from ipos.agent.endpoints.transfer_message import PIECE


@pytest.mark.parametrize("length", [0, 1, PIECE - 1, PIECE, PIECE + 1, 10 * PIECE, 200 * PIECE + 7])
@pytest.mark.parametrize("bad", [0.0, 0.3])
def test_all_bytes_arrive_in_order(length: int, bad: float) -> None:
    chance = random.Random(f"{length} {bad}")
    data = chance.randbytes(length)
    sender, receiver, now_ns = Sender(data), Receiver(length), 0
    there: list[tuple[int, bytes]] = []
    back: list[tuple[int, int]] = []
    most = 0
    for _ in range(100_000):
        if sender.is_over:
            break
        now_ns += 1_000_000
        for piece in sender.due(now_ns):
            there += [piece] * (0 if chance.random() < bad else 2 if chance.random() < bad else 1)
        most = max(most, len(there))
        if chance.random() < bad:
            chance.shuffle(there)
            chance.shuffle(back)
        for at, piece_bytes in there:
            assert receiver.take(at, piece_bytes)
            if chance.random() >= bad:
                back.append(receiver.got())
        there = []
        if chance.random() >= bad:
            for said in back:
                sender.got(*said, now_ns)
            back = []
    assert sender.is_over
    assert receiver.is_over
    assert receiver.data == data
    assert most <= 2 * WINDOW


def test_what_is_no_piece_of_it_is_refused() -> None:
    receiver = Receiver(PIECE + 1)
    assert not receiver.take(1, bytes(PIECE))
    assert not receiver.take(0, b"short")
    assert not receiver.take(2 * PIECE, b"x")
    assert not receiver.take(PIECE, b"long")
    assert receiver.take(PIECE, b"x")
    assert not receiver.is_over
    assert receiver.got() == (0, 1)


def test_a_sender_is_not_led_astray() -> None:
    sender = Sender(bytes(3 * PIECE))
    assert len(list(sender.due(0))) == 3
    sender.got(99, 1, 1)
    assert not sender.is_over
    assert not list(sender.due(1))
    assert [at for at, _ in sender.due(20_000_000)] == [0, PIECE, 2 * PIECE]
    sender.got(2, 0, 30_000_000)
    sender.got(1, 0, 30_000_000)
    assert not sender.is_over
    sender.got(3, 0, 30_000_000)
    assert sender.is_over
