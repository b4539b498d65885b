# SPDX-License-Identifier: Apache-2.0
"""Reading what several servers capture at once."""

import time
from collections.abc import Iterator

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from ipos.demo.recording import until_closed
from ipos.kernel.capture import Frame
from ipos.wire import ethernet

_FOREIGN = bytes(Ether() / IP() / UDP(sport=7077, dport=7077))


def _frame(when_ns: int) -> Frame:
    return Frame(when_ns=when_ns, ifindex=3, outbound=False, length=len(_FOREIGN), data=_FOREIGN)


def _never_silent() -> Iterator[Frame | None]:
    while True:
        yield _frame(time.clock_gettime_ns(time.CLOCK_BOOTTIME))


def _then_silent(*when_ns: int) -> Iterator[Frame | None]:
    yield from map(_frame, when_ns)
    while True:
        yield None


def test_a_stream_that_is_never_silent_holds_up_nobody() -> None:
    streams = [_never_silent(), _then_silent(1, 2)]
    found = until_closed(streams, 40_000, ethernet.ETHERTYPE, migrated=False)
    assert [frame.when_ns for frame in found[-2:]] == [1, 2]
