# SPDX-License-Identifier: Apache-2.0
"""The golden-packet table, row by row: on the native library, and on the kernel's eBPF."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ipos.abi.layout import header
from tests.golden import rows_approved
from tests.support.golden import (
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
    rows_offered_again,
    rows_old_connection,
    rows_owner,
    rows_redirect,
    rows_refused,
    rows_request,
    rows_session,
    rows_started,
    rows_states,
    rows_taken,
    rows_traffic,
    rows_uplinks,
    rows_urgent,
    rows_with_state,
)
from tests.support.golden.kernel_machine import KernelMachine, kernel_machine
from tests.support.golden.row import Row, check, check_alike, check_native

MODULES = (
    rows_line, rows_session, rows_handshake, rows_request, rows_held, rows_idle, rows_answer,
    rows_redirect, rows_migration, rows_owner, rows_close, rows_old_connection,
    rows_frames, rows_front, rows_gates, rows_move, rows_traffic, rows_urgent, rows_refused,
    rows_started,
    rows_approved, rows_offered_again, rows_arp, rows_anycast, rows_locate, rows_states,
    rows_taken, rows_flow, rows_flow_owner, rows_boxed, rows_uplinks, rows_with_state,
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


@pytest.fixture(scope="module")
def loaded() -> Iterator[KernelMachine]:
    with kernel_machine() as machine:
        yield machine


@pytest.mark.farm
@pytest.mark.parametrize("row", [row for row in ROWS if not row.only_native], ids=_named)
def test_kernel(row: Row, loaded: KernelMachine) -> None:
    loaded.reset()
    (check_alike if row.adopts else check)(loaded, row)
