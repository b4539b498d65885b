# SPDX-License-Identifier: Apache-2.0
"""A server has noticed an application's session cookie: what it tells the others. Either family."""

from __future__ import annotations

import pytest

from ipos.abi.layout import constant
from ipos.wire import LearnedPacket, PacketType, Protocol, ethernet
from tests.support.golden import packets as p
from tests.support.golden.machine import Config, NativeMachine, configure, connection_key, network
from tests.support.six import six_frame

HASH = 0x0123_4567_89AB_CDEF
MARK_TELL = constant("IPOS_MARK_TELL")


def server(index: int, family: int) -> NativeMachine:
    machine = NativeMachine(family=family)
    configure(machine, Config(me=index))
    machine.table("sessions")[1] = {
        "kind": constant("IPOS_SESSION_LEARN"),
        "lifetime_s": 100,
    }
    return machine


@pytest.mark.parametrize("forgotten", [False, True])
@pytest.mark.parametrize("family", [4, 6])
def test_what_one_server_tells_another_believes(family: int, *, forgotten: bool) -> None:
    teller, hearer = server(1, family), server(2, family)
    key = {"hash": HASH, "service_port": p.WEB}
    try:
        teller.table("learning")[connection_key()] = {
            "news": 1,
            "hash": HASH,
            "forgotten": forgotten,
        }
        hearer.table("cookies")[key] = {"server_ip": network(p.S3)}
        response = p.answer("PA", seq=p.ISS + 1, ack=p.IRS + 1, data=b"HTTP/1.1 200 OK\r\n")
        response = response if family == 4 else six_frame(response)
        told = teller.ingress(response, "front", MARK_TELL)
        assert told.verdict == "redirect"
        assert told.redirected is not None
        frame = told.redirected.frame
        packet = ethernet.decode(frame, p.FRAME_KEY).packet
        assert isinstance(packet, LearnedPacket)
        kind = PacketType.FORGOTTEN if forgotten else PacketType.LEARNED
        assert (packet.header.type, int(packet.header.source_ip)) == (kind, network(p.SERVICE))
        assert packet.header.protocol is (Protocol.TCP if family == 4 else Protocol.TCP6)
        assert hearer.xdp(frame, "back").verdict == "drop"
        assert hearer.counters() == {"FRAMES_RECEIVED": 1, "COOKIE_HEARD": 1}
        row = hearer.table("cookies").get(key)
        assert (row and row["server_ip"]) == (None if forgotten else network(p.SERVICE))
    finally:
        teller.close()
        hearer.close()
