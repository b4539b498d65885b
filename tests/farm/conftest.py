# SPDX-License-Identifier: Apache-2.0
"""Farms for all farm tests of a session, with names of their own."""

import os
from collections.abc import Iterator

import pytest

from ipos.lab import Lab, Settings, faults
from tests.farm import applied
from tests.support.farm import Farm
from tests.support.shared import farm_with


@pytest.fixture
def farm() -> Iterator[Farm]:
    """The process's farm, every server ready, every table of connections empty."""
    with farm_with() as found:
        yield found
        faults.set_loss(found.lab, 0)


@pytest.fixture(scope="session")
def applications() -> Iterator[Farm]:
    """The farm of tests.farm.applied."""
    settings = Settings(name=f"ap{os.getpid()}", config=applied.CONFIG, app=applied.COMMAND)
    with Lab(settings) as lab:
        yield Farm(lab)
