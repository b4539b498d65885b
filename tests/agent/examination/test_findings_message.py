# SPDX-License-Identifier: Apache-2.0
"""Datagrams of `ipos doctor --farm`: what is believed, and that any number of findings fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipos.agent.examination.findings_message import (
    CLOCK_MS,
    FINDINGS_MAX,
    PARTS_MAX,
    TEXT_MAX,
    Findings,
    Question,
    Said,
    answers,
    decode,
    encode,
)
from tests.agent.made_up_farm import KEY, WALL_MS

FOUND = Said("mtu", "The MTU of back is 1400.")


@pytest.mark.parametrize("said", [Question(7), Findings(7, 0, 1, [FOUND])])
def test_what_is_said_is_believed_for_seconds_and_under_our_key(said: Question | Findings) -> None:
    datagram = encode(said, WALL_MS, KEY)
    assert decode(datagram, WALL_MS + CLOCK_MS, KEY) == said
    assert decode(datagram, WALL_MS + CLOCK_MS + 1, KEY) is None
    assert decode(datagram, WALL_MS - CLOCK_MS - 1, KEY) is None
    assert decode(datagram, WALL_MS, bytes(32)) is None
    for at in range(len(datagram)):
        changed = datagram[:at] + bytes((datagram[at] ^ 1,)) + datagram[at + 1 :]
        assert decode(changed, WALL_MS, KEY) is None


@given(st.lists(st.builds(Said, st.text(max_size=30), st.text(max_size=900), st.booleans())))
def test_all_findings_arrive_or_are_counted(found: list[Said]) -> None:
    parts = answers(3, found)
    assert 1 <= len(parts) <= PARTS_MAX
    assert [part.part for part in parts] == list(range(len(parts)))
    assert {part.parts for part in parts} == {len(parts)}
    datagrams = [encode(part, WALL_MS, KEY) for part in parts]
    assert max(map(len, datagrams)) <= 1372  # what UDP carries on a LAN of 1,400 bytes
    read = [decode(one, WALL_MS, KEY) for one in datagrams]
    assert read == parts
    every = [one for part in parts for one in part.findings]
    assert len(every) == min(len(found), FINDINGS_MAX)
    assert len(every) + parts[0].left_out == len(found)


def test_the_longest_findings_have_room() -> None:
    parts = answers(1, [Said("c" * TEXT_MAX, "ä" * TEXT_MAX)] * FINDINGS_MAX)
    assert sum(len(part.findings) for part in parts) == FINDINGS_MAX
    assert all(one.message.endswith("...") for part in parts for one in part.findings)
