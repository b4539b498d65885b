# SPDX-License-Identifier: Apache-2.0
"""A farm whose control plane is killed, stopped, cut and replaced while a client asks on."""

import os
from collections.abc import Iterator

import pytest

from ipos.kernel.maps import Tables
from ipos.lab import Lab, Settings
from tests.support.farm import Farm, wait_until

WHOLE = 8001
"""The port of a service that decides when a head has been read. On port 80 nothing asks for one, so
the first byte decides.
"""

CONFIG = f"""\
[[service]]
name = "web"
port = 80
slow_start_ms = 0

[[service]]
name = "whole"
port = {WHOLE}
mode = "http"
slow_start_ms = 0

[[pool]]
name = "all"
servers = {{ s1 = 1, s2 = 1, s3 = 1 }}

[[route]]
service = "web"
pool = "all"
"""


@pytest.fixture(scope="session")
def _control_farm() -> Iterator[Farm]:
    with Lab(Settings(name=f"control{os.getpid()}", config=CONFIG)) as lab:
        yield Farm(lab)


@pytest.fixture
def farm(_control_farm: Farm) -> Farm:
    """All servers are ready and serve."""
    wait_until("every server is ready", _control_farm.ready, 30)
    wait_until("every server serves", lambda: serving(_control_farm) == 3, 30)
    return _control_farm


def serving(farm: Farm) -> int:
    """How many candidates the server with the fewest knows of."""
    return min(map(candidates, farm.tables.values()))


def candidates(tables: Tables) -> int:
    """A reload may give a service's requests to another row of `pools`."""
    service = tables.services.get(0)
    pool = None if service is None else tables.pools.get(service.pool)
    return 0 if pool is None else len(pool.candidates)
