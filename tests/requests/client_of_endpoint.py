# SPDX-License-Identifier: Apache-2.0
"""A client of one endpoint of the oracle, segment by segment."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from ipos.handshake.keys import FarmKeys
from ipos.handshake.options import Timestamps, parse_options, write_timestamps
from ipos.handshake.segment import Flag, Segment, parse_packet
from spec.handshake.unattached import Action, Event, State
from spec.requests.endpoint import Around, Endpoint, Step, step

A, S = Flag.ACK, Flag.SYN

KEYS = FarmKeys(b"the secret of a farm in a test", "shop")

AROUND = Around(KEYS.cookie, now_wall_s=1_700_000_000, now_ns=10**9)

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

FULL = b"X" * 524  # of a client without an MSS option: 536 less 12 of timestamps


@dataclass
class Client:
    """A client that shakes hands and then sends what a test tells it to."""

    isn: int = 0xFFFF_FFF0  # the stream wraps after a few bytes
    options: bytes = bytes.fromhex("01030305") + write_timestamps(Timestamps(1000, 0))
    around: Around = AROUND
    endpoint: Endpoint = field(default_factory=Endpoint)
    iss: int = 0
    echo: int = 0

    def segment(
        self, flags: Flag, offset: int = 0, data: bytes = b"", ack: int | None = None
    ) -> Segment:
        """A segment at an offset from the first byte; it acknowledges our SYN unless told."""
        return Segment(
            source=IPv4Address("10.99.0.7"),
            source_port=40001,
            destination=IPv4Address("203.0.113.1"),
            destination_port=80,
            seq=self.isn + 1 + offset & 0xFFFF_FFFF,
            ack=(self.iss + 1 if ack is None else ack) & 0xFFFF_FFFF,
            flags=flags,
            window=500,
            options=write_timestamps(Timestamps(1001, self.echo)) if self.echo else b"",
            data=data,
        )

    def send(self, flags: Flag, offset: int = 0, data: bytes = b"", ack: int | None = None) -> Step:
        return self.deliver(self.segment(flags, offset, data, ack))

    def deliver(self, segment: Segment) -> Step:
        result = step(self.endpoint, segment, self.around)
        self.endpoint = result.endpoint
        if result.answer is not None:
            assert parse_packet(result.answer.packet()) == result.answer
        return result

    def wait(self, ns: int) -> None:
        self.around = replace(self.around, now_ns=self.around.now_ns + ns)

    def syn(self) -> Step:
        syn = replace(self.segment(S, -1, ack=0), options=self.options)
        result = self.deliver(syn)
        if result.action is Action.SYN_ACK and result.answer is not None:
            self.iss = result.answer.seq
            stamps = parse_options(result.answer.options).timestamps
            self.echo = stamps.value if stamps else 0
        return result

    def opened(self) -> Client:
        assert self.syn().events == (Event.SYN,)
        assert self.send(A).events == (Event.COOKIE, Event.PURE_ACK)
        assert self.endpoint.state is State.OPEN
        return self
