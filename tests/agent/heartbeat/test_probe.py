# SPDX-License-Identifier: Apache-2.0
"""Probes as scapy builds them, and which answers count."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from ipos.abi.rows import Settings, SettingsFlags
from ipos.agent.heartbeat import probe
from ipos.agent.heartbeat.probe import Probes
from tests.agent.made_up_farm import MS, NOW_NS, back
from tests.support.golden import packets
from tests.support.golden.machine import mac
from tests.support.golden.probes import probe as probe_frame

KEY = packets.FRAME_KEY
SETTINGS = Settings(
    abi=1, flags=SettingsFlags.AUTHENTICATE, front_ifindex=12, back_ifindex=13, front_vlan=0,
    back_vlan=0, ethertype=7, self=1, front_mac=mac(packets.FRONT), back_mac=mac(packets.BACK),
    self_ip=IPv4Address(packets.SERVICE), wall_offset_ns=0, header_timeout_ms=5000, idle_s=3600,
    frame_key=(int.from_bytes(KEY[:8], "little"), int.from_bytes(KEY[8:], "little")),
)  # fmt: skip
NONCES = [bytes((n,)) * 12 for n in range(1, 9)]


def probes() -> Probes:
    ready: Iterator[bytes] = iter(NONCES)
    return Probes(lambda size: next(ready))


def ask(asked: Probes, settings: Settings = SETTINGS, now_ns: int = NOW_NS) -> bytes:
    return asked.question(settings, back(2), IPv4Address(packets.S2), mac(packets.MAC2), now_ns)


def answer(nonce: bytes = NONCES[0], **fields: object) -> bytes:
    given = {"asker": packets.SERVICE, "asked": packets.S2, "nonce": nonce, **fields}
    return probe_frame(9, **given)  # type: ignore[arg-type]


def question(**fields: object) -> bytes:
    given = {"to": packets.MAC2, "by": packets.BACK, "asker": packets.SERVICE, "asked": packets.S2}
    return probe_frame(8, **{**given, "nonce": NONCES[0], **fields})  # type: ignore[arg-type]


def test_a_question_is_what_scapy_builds() -> None:
    assert ask(probes()).hex() == question().hex()
    tagged = replace(SETTINGS, back_vlan=packets.VLAN)
    assert question(vlan=packets.VLAN).startswith(ask(probes(), tagged))
    open_farm = replace(SETTINGS, flags=SettingsFlags(0))
    assert ask(probes(), open_farm).hex() == question(tag=bytes(8)).hex()


def test_an_answer_says_whose_it_is_once() -> None:
    asked = probes()
    ask(asked)
    assert asked.answer(SETTINGS, answer(), NOW_NS + MS) == (back(2), mac(packets.MAC2))
    assert asked.answer(SETTINGS, answer(), NOW_NS + 2 * MS) is None, "played back"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        answer(NONCES[5]),
        answer(tag=b"no tag.."),
        answer()[:40],
        question(),
        packets.notice(3),
    ],
)
def test_anything_else_proves_nothing(raw: bytes) -> None:
    asked = probes()
    ask(asked)
    assert asked.answer(SETTINGS, raw, NOW_NS) is None
    assert asked.answer(SETTINGS, answer(), NOW_NS) is not None, "the question still stands"


def test_a_late_answer_says_nothing_about_now() -> None:
    asked = probes()
    ask(asked)
    assert asked.answer(SETTINGS, answer(), NOW_NS + probe.WAIT_NS + 1) is None


def test_what_was_never_answered_is_forgotten() -> None:
    asked = probes()
    ask(asked)
    ask(asked, now_ns=NOW_NS + 2 * probe.WAIT_NS)
    assert len(asked._asked) == 1


def test_nonces_are_the_kernels_randomness() -> None:
    one, other = (ask(Probes()) for _ in range(2))
    assert one[30:42] != other[30:42]
