# SPDX-License-Identifier: Apache-2.0
"""IPv6 addresses in states."""

from ipaddress import IPv6Address

import msgspec

from ipos.agent.heartbeat import message
from ipos.agent.heartbeat.datagram_tags import TAG_SIZE
from tests.agent.made_up_farm import KEY, state

SIX1, SIX2 = (int(IPv6Address(one)) for one in ("2001:db8::1", "fd00::2"))


def test_addresses_of_both_families_come_back() -> None:
    four = state(1).addresses[0]
    said = state(1, addresses=[four, SIX1], holds=[four, SIX1, SIX2], claims=[SIX2])
    assert message.decode(message.encode(said, KEY), KEY) == said


def test_without_ipv6_a_state_is_what_it_was() -> None:
    body = message.encode(state(1), KEY)[:-TAG_SIZE]
    assert msgspec.msgpack.decode(body[1:])[-1] is None


def test_a_server_that_says_nothing_of_what_it_holds_still_does_not() -> None:
    said = state(1, addresses=[SIX1], holds=None)
    assert message.decode(message.encode(said, KEY), KEY).holds is None


def test_an_earlier_agent_sees_the_ipv4_addresses() -> None:
    four = state(1).addresses[0]
    body = message.encode(state(1, addresses=[four, SIX1]), KEY)[:-TAG_SIZE]
    told = msgspec.msgpack.decode(body[1:])
    assert told[ADDRESSES_AT] == [four]


def test_what_is_no_ipv6_address_is_left_out() -> None:
    six = message.Addresses6([bytes(12) + b"\x7f\0\0\1", SIX1.to_bytes(16, "big")])
    said = message.decode(message.encode(state(1, six=six), KEY), KEY)
    assert said.addresses == [*state(1).addresses, SIX1]


ADDRESSES_AT = [one.name for one in msgspec.structs.fields(message.State)].index("addresses")
