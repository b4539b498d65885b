# SPDX-License-Identifier: Apache-2.0
"""State datagrams: what is said comes back, and nothing else is believed."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipos.abi.rows import ServerState
from ipos.agent.heartbeat import datagram_tags, message
from ipos.agent.heartbeat.message import Listening, Rejected, State

KEY = bytes(range(16))
STATE = State(
    farm="shop",
    server="s2",
    boot=1_700_000_000_000,
    sequence=7,
    sent_ms=1_700_000_001_000,
    state=1,
    back_ip=0x0A4D0002,
    mac=b"\2\0\0\0\0\2",
    addresses=[0xCB007102],
    tcp_connections=12,
    cpu_permille=345,
    memory_available=8 << 30,
    bandwidth_available=10_000_000_000,
    services=["web"],
    listening=[Listening(0, 80, 4711, "nginx")],
)


def reason(datagram: bytes, key: bytes = KEY) -> str:
    with pytest.raises(Rejected) as raised:
        message.decode(datagram, key)
    return raised.value.reason


def signed(body: bytes, key: bytes = KEY) -> bytes:
    """A datagram with the right tag, made of anything."""
    return body + datagram_tags.tag(body, key)


def test_a_state_comes_back_as_it_was_and_is_a_few_hundred_bytes() -> None:
    datagram = message.encode(STATE, KEY)
    assert message.decode(datagram, KEY) == STATE
    assert len(datagram) < 300


@pytest.mark.parametrize("state", [one for one in ServerState if one is not ServerState.NONE])
def test_every_state_that_a_server_says_of_itself_is_understood(state: ServerState) -> None:
    said = msgspec.structs.replace(STATE, state=int(state))
    assert message.decode(message.encode(said, KEY), KEY) == said


def test_a_long_one_leaves_listening_sockets_out_and_fits() -> None:
    many = [Listening(n, 65000, 99999, "a-process-name") for n in range(500)]
    (datagram,) = message.datagrams(msgspec.structs.replace(STATE, listening=many), KEY)
    assert len(datagram) <= message.SIZE_MAX
    assert 0 < len(message.decode(datagram, KEY).listening) < 500


def test_what_is_not_believed_has_a_name() -> None:
    datagram = message.encode(STATE, KEY)
    assert reason(b"") == "short"
    assert reason(datagram[:16]) == "short"
    assert reason(datagram[:-1]) == "tag"
    assert reason(datagram, bytes(16)) == "tag"
    assert reason(b"\4" + datagram[1:]) == "version"
    assert reason(signed(b"\3" + b"\x91" * 100_000)) == "malformed"
    assert reason(signed(b"\3garbage")) == "malformed"
    assert reason(signed(b"\3" + msgspec.msgpack.encode(["shop", 3]))) == "malformed"


def test_a_later_agent_may_say_more() -> None:
    body = msgspec.msgpack.decode(msgspec.msgpack.encode(STATE))
    later = signed(b"\3" + msgspec.msgpack.encode([*body, "something new"]))
    assert message.decode(later, KEY) == STATE


def test_no_changed_bit_is_believed() -> None:
    datagram = bytearray(message.encode(STATE, KEY))
    for position in range(len(datagram)):
        datagram[position] ^= 1 << random.Random(position).randrange(8)
        assert reason(bytes(datagram)) in {"tag", "version"}
        datagram = bytearray(message.encode(STATE, KEY))


def test_while_keys_change_both_are_believed() -> None:
    old, new = b"the old key 1234", b"the new key 5678"
    changing = datagram_tags.StateKeys(old, new)
    assert message.decode(message.encode(STATE, old), changing) == STATE
    assert message.decode(message.encode(STATE, new), changing) == STATE
    assert message.decode(message.encode(STATE, changing), old) == STATE
    changing.take(new)
    assert message.decode(message.encode(STATE, changing), new) == STATE
    with pytest.raises(Rejected):
        message.decode(message.encode(STATE, old), changing)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_noise_raises_nothing_else(noise: bytes) -> None:
    assert reason(noise) in {"short", "version", "tag"}
    assert reason(signed(b"\3" + noise)) == "malformed"


@pytest.mark.parametrize("name", ["", "s" * 33, "s2\r\nX: y", "s\u00e9", "a.b", "\x1b[2J"])
def test_a_server_has_a_name_that_can_be_part_of_a_response(name: str) -> None:
    assert reason(message.encode(msgspec.structs.replace(STATE, server=name), KEY)) == "malformed"
