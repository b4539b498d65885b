# SPDX-License-Identifier: Apache-2.0
"""The verifier gives up after a million instructions, and each kernel follows other ones."""

import os

import pytest

from ipos.kernel import data_plane
from ipos.kernel.libbpf import syscall
from tests.support.golden.machine import SIZES
from tests.support.plane import pin_place

pytestmark = pytest.mark.farm

MOST = 400_000


def test_no_program_comes_near_the_limit() -> None:
    with pin_place() as place:
        plane = data_plane.load(data_plane.objects_directory(), place, SIZES, six=True)
        verified = {}
        for program in plane.programs:
            fd = data_plane.program_fd(place, program.name)
            try:
                verified[program.name] = syscall.program_info(fd).verified
            finally:
                os.close(fd)
    assert all(verified.values())
    assert {name: count for name, count in verified.items() if count > MOST} == {}
