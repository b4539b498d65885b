# SPDX-License-Identifier: Apache-2.0
"""The golden-packet table, row by row: on the native library, and on the kernel's eBPF."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.golden import rows_handshake, rows_request
from tests.golden.kernel_machine import KernelMachine, kernel_machine
from tests.golden.row import Row, check, check_alike, check_native

ROWS = [*rows_handshake.ROWS, *rows_request.ROWS]


def _named(row: Row) -> str:
    return row.about


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
