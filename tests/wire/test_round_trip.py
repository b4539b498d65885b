# SPDX-License-Identifier: Apache-2.0
"""What is encoded is decoded, and whatever arrives is either a frame or a `WireError`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ipos.wire import DataPacket, Frame, Packet, WireError, ethernet
from tests.support.strategies import EXAMPLES, KEY, frame, frames, keys


def outcome(raw: bytes, key: bytes | None = None, ethertype: int = 0x0007) -> Frame | WireError:
    """The frame or the error; any other exception is the test's failure."""
    try:
        return ethernet.decode(raw, key, ethertype=ethertype)
    except WireError as error:
        return error


@given(frames, keys)
def test_round_trip(value: Frame, key: bytes | None) -> None:
    assert outcome(ethernet.encode(value, key), key, value.ethertype) == value


@given(frames)
def test_padding_changes_nothing(value: Frame) -> None:
    padded = ethernet.pad(ethernet.encode(value))
    assert len(padded) >= 60
    assert outcome(padded, None, value.ethertype) == value


@given(frames, st.data())
def test_no_covered_bit_can_change(value: Frame, data: st.DataObject) -> None:
    raw = bytearray(ethernet.encode(value, KEY))
    start = 14 if value.vlan is None else 18
    # The client's own data has the client's own checksum; of such a packet, the inner IP header.
    end = start + 16 + 20 if isinstance(value.packet, DataPacket) else len(raw)
    bit = data.draw(st.integers(start * 8, end * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    error = outcome(bytes(raw), KEY, value.ethertype)
    assert isinstance(error, WireError)
    assert start <= error.offset <= len(raw)


@given(st.sampled_from(EXAMPLES), st.data())
def test_every_truncation_is_refused(packet: Packet, data: st.DataObject) -> None:
    raw = ethernet.encode(frame(packet), KEY)
    length = data.draw(st.integers(0, len(raw) - 1))
    error = outcome(raw[:length], KEY)
    assert isinstance(error, WireError)
    assert error.offset <= length
    assert "truncated" in str(error)


@given(st.binary(max_size=200))
def test_noise_raises_wire_errors_only(noise: bytes) -> None:
    error = outcome(noise)
    assert isinstance(error, WireError)
    assert 0 <= error.offset <= len(noise)


@given(frames, st.data())
def test_mutations_are_a_frame_or_a_wire_error(value: Frame, data: st.DataObject) -> None:
    raw = bytearray(ethernet.encode(value))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    result = outcome(bytes(raw), None, value.ethertype)
    if isinstance(result, WireError):
        assert 0 <= result.offset <= len(raw)
    else:
        # With authentication off tags are not looked at, so the bytes may differ, the value not.
        assert outcome(ethernet.encode(result), None, value.ethertype) == result
