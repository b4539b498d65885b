# SPDX-License-Identifier: Apache-2.0
"""Tagged frames over a real wire.

TEST_RUN leaves a VLAN tag where it stands; on a wire the kernel takes it out of the frame before
tc sees it, and puts what it kept back in front of whatever tc sends.
"""

from __future__ import annotations

import itertools
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from ipos.kernel import data_plane
from ipos.kernel.capture import capturing
from ipos.kernel.hooks import Attachment, Hook
from ipos.lab.offload import set_offloads
from tests.support.golden import offers
from tests.support.golden import packets as p
from tests.support.golden.kernel_machine import KernelMachine, kernel_machine
from tests.support.golden.machine import Config, Out
from tests.support.golden.row import Row, prepare
from tests.support.golden.rows_close import mine, reply
from tests.support.golden.rows_handshake import KEY, OPENED
from tests.support.golden.rows_owner import told
from tests.support.golden.rows_request import FIRST, REST, offered

pytestmark = pytest.mark.farm

SOL_PACKET, PACKET_VNET_HDR, NEEDS_CSUM = 263, 15, 1  # linux/if_packet.h, linux/virtio_net.h
TCP_CHECK = 16
IP_END, NOTICE_END = 34, 50


@pytest.fixture(scope="module")
def loaded() -> Iterator[KernelMachine]:
    with kernel_machine() as machine:
        plan = [
            Attachment(hook, machine.ifindex(where))
            for where in ("front", "back")
            for hook in (Hook.XDP, Hook.INGRESS)
        ]
        set_offloads("back", tx=False)  # or nobody would ever finish a checksum there
        plan.append(Attachment(Hook.EGRESS, machine.ifindex("front")))
        data_plane.attach(machine.pin_dir, plan)
        yield machine


def sends(machine: KernelMachine, frame: bytes, count: int) -> list[Out]:
    """The router sends a frame; the next `count` that go out of the server."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("front-peer", 0))
        machine.heard()
        wire.send(frame)
    out: list[Out] = []
    deadline = time.monotonic() + 5
    while len(out) < count and time.monotonic() < deadline:
        out += [one for one in machine.heard() if not one.inward]
    return out


@pytest.mark.parametrize(("front", "back"), [(0, 0), (p.VLAN, 0), (0, p.VLAN), (p.VLAN, 9)])
def test_a_request_in_two_segments_for_another_server(
    loaded: KernelMachine, front: int, back: int
) -> None:
    loaded.reset()
    config = Config(front_vlan=front, back_vlan=back, candidates=(2,))
    prepare(loaded, Row(about="", steps=(), counts={}, config=config, sockets=(),
                        before={"temporary": [(KEY, OPENED)]}))  # fmt: skip
    first = sends(loaded, p.client("A", FIRST, vlan=front), 1)
    assert [out.frame.hex() for out in first] == [p.ack(len(FIRST), vlan=front).hex()]
    rest = sends(loaded, p.client("PA", REST, seq=p.IRS + 21, vlan=front), 2)
    wanted = [out.frame for out in offered(p.HEAD, acknowledged=len(FIRST), vlan=back)]
    told = [offers.without_migration(out.frame).hex() for out in rest]
    assert told == [offers.without_migration(frame).hex() for frame in wanted]
    assert {out.where for out in rest} == {"back"}


def finishing(frame: bytes, start: int) -> bytes:
    """For a packet socket with PACKET_VNET_HDR: the NIC is to sum from `start` and finish TCP's.

    It is how our kernel's own segments come to egress.
    """
    return struct.pack("=BBHHHH", NEEDS_CSUM, 0, 0, 0, start, TCP_CHECK) + frame


@pytest.mark.parametrize("back", [0, p.VLAN])
def test_a_notice_made_of_a_segment_with_an_unfinished_checksum(
    loaded: KernelMachine, back: int
) -> None:
    loaded.reset()
    config = Config(back_vlan=back)
    prepare(loaded, Row(about="", steps=(), counts={}, config=config, sockets=(),
                          before=mine()))  # fmt: skip
    with capturing(loaded.pin_dir) as captured:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            wire.bind(("front", 0))
            loaded.heard()
            wire.send(finishing(reply("RA"), IP_END))
        out: list[Out] = []
        deadline = time.monotonic() + 5
        while len(out) < 2 and time.monotonic() < deadline:
            out += [one for one in loaded.heard() if not one.inward]
        seen = {frame.ifindex: frame for frame in itertools.takewhile(bool, captured) if frame}
    by_place = {one.where: one.frame for one in out}
    wanted = told(4, vlan=back)
    end = NOTICE_END + (4 if back else 0)  # the padding behind is where a checksum may land
    assert by_place["back"][:end].hex() == wanted[:end].hex()
    assert len(by_place["back"]) == len(wanted)
    shown = seen[loaded.ifindex("back")]
    assert shown.data[:end].hex() == wanted[:end].hex(), "a capture shows the tag, too"
    assert shown.length == len(shown.data) == len(wanted)
    assert by_place["front"][:IP_END].hex() == reply("RA")[:IP_END].hex()
