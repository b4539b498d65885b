# SPDX-License-Identifier: Apache-2.0
"""Farms for all farm tests of a session, with names of their own."""

import os
from collections.abc import Iterator

import pytest

from ipos.lab import Lab, Settings, faults
from tests.farm import applied
from tests.support.farm import CONFIG, Farm


@pytest.fixture(scope="session")
def _session_farm() -> Iterator[Farm]:
    with Lab(Settings(name=f"ft{os.getpid()}", config=CONFIG)) as lab:
        yield Farm(lab)


@pytest.fixture
def farm(_session_farm: Farm) -> Iterator[Farm]:
    """The session's farm, every server ready, every table of connections empty."""
    _session_farm.wait_idle()
    yield _session_farm
    faults.set_loss(_session_farm.lab, 0)


@pytest.fixture(scope="session")
def applications() -> Iterator[Farm]:
    """The farm of tests.farm.applied."""
    settings = Settings(name=f"ap{os.getpid()}", config=applied.CONFIG, app=applied.COMMAND)
    with Lab(settings) as lab:
        yield Farm(lab)
