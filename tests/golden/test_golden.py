# SPDX-License-Identifier: Apache-2.0
"""The golden-packet table, row by row: on the native library, and on the kernel's eBPF."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

import pytest

from ipos.abi.layout import header
from ipos.kernel import data_plane
from ipos.kernel.libbpf import prog_test_run
from native.values import Xdp
from tests.golden import rows_approved
from tests.support.golden import (
    packets6,
    rows_answer,
    rows_anycast,
    rows_arp,
    rows_boxed,
    rows_close,
    rows_flow,
    rows_flow_owner,
    rows_frames,
    rows_front,
    rows_gates,
    rows_handshake,
    rows_held,
    rows_idle,
    rows_line,
    rows_locate,
    rows_migration,
    rows_move,
    rows_neighbours,
    rows_offered_again,
    rows_old_connection,
    rows_owner,
    rows_redirect,
    rows_refused,
    rows_request,
    rows_session,
    rows_six,
    rows_started,
    rows_states,
    rows_taken,
    rows_traffic,
    rows_uplinks,
    rows_urgent,
)
from tests.support.golden.kernel_machine import KernelMachine, kernel_machine
from tests.support.golden.machine import Config, configure
from tests.support.golden.row import Row, check, check_alike, check_native

MODULES = (
    rows_line, rows_session, rows_handshake, rows_request, rows_held, rows_idle, rows_answer,
    rows_redirect, rows_migration, rows_owner, rows_close, rows_old_connection,
    rows_frames, rows_front, rows_gates, rows_move, rows_traffic, rows_urgent, rows_refused,
    rows_started,
    rows_approved, rows_offered_again, rows_arp, rows_anycast, rows_locate, rows_states,
    rows_taken, rows_flow, rows_flow_owner, rows_boxed, rows_uplinks, rows_six, rows_neighbours,
)  # fmt: skip
ROWS = [row for module in MODULES for row in module.ROWS]


def _named(row: Row) -> str:
    return row.about


def test_every_drop_reason_is_hit() -> None:
    counted = {name for row in ROWS for name in row.counts}
    reasons = {counter.name for counter in header().counters if counter.is_drop}
    assert reasons <= counted


def test_rows_are_told_apart() -> None:
    names = [row.about for row in ROWS]
    assert len(set(names)) == len(names) >= 100


@pytest.mark.parametrize("row", ROWS, ids=_named)
def test_native(row: Row) -> None:
    check_native(row)


def _rows(family: int) -> list[Row]:
    return [row for row in ROWS if row.family == family and not row.only_native]


@pytest.fixture(scope="module")
def loaded() -> Iterator[KernelMachine]:
    with kernel_machine() as machine:
        yield machine


@pytest.mark.farm
@pytest.mark.parametrize("row", _rows(4), ids=_named)
def test_kernel(row: Row, loaded: KernelMachine) -> None:
    loaded.reset()
    (check_alike if row.adopts else check)(loaded, row)


def _by_interface(machine: KernelMachine, frame: bytes, where: str) -> tuple[Xdp, bytes]:
    """What the program of an interface does, which is IPv4's."""
    program = data_plane.program_fd(machine.pin_dir, "ipos_xdp")
    try:
        context = struct.pack("=6I", 0, len(frame), 0, machine.ifindex(where), 0, 0)
        ran = prog_test_run(program, frame, context)
    finally:
        os.close(program)
    return Xdp(ran.retval), ran.data


@pytest.mark.farm
def test_without_ipv6s_programs_its_packets_pass_and_its_frames_do_not(
    loaded: KernelMachine,
) -> None:
    loaded.reset()
    configure(loaded, Config())
    assert _by_interface(loaded, packets6.syn(), "front") == (Xdp.PASS, packets6.syn())
    assert _by_interface(loaded, packets6.notice(3), "back")[0] is Xdp.DROP
    assert loaded.counters() == {"PASSED": 1, "DROP_FRAME_TYPE": 1}


@pytest.fixture(scope="module")
def loaded6() -> Iterator[KernelMachine]:
    with kernel_machine(6) as machine:
        yield machine


@pytest.mark.farm
@pytest.mark.parametrize("row", _rows(6), ids=_named)
def test_kernel6(row: Row, loaded6: KernelMachine) -> None:
    loaded6.reset()
    (check_alike if row.adopts else check)(loaded6, row)


@pytest.mark.farm
def test_the_program_of_an_interface_goes_on_with_ipv6s(loaded6: KernelMachine) -> None:
    loaded6.reset()
    configure(loaded6, Config())
    loaded6.set_wall()
    answer = packets6.syn_ack()
    assert _by_interface(loaded6, packets6.syn(), "front") == (Xdp.REDIRECT, answer)
    assert _by_interface(loaded6, packets6.notice(3), "back")[0] is Xdp.DROP
    assert loaded6.counters() == {"SYN_ACK": 1, "FRAMES_RECEIVED": 1, "DROP_FRAME_UNKNOWN": 1}
