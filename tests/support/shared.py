# SPDX-License-Identifier: Apache-2.0
"""One lab of three servers for all test files of a process that only want other services.

Another lab takes 7 s of CPU time, most of it in the kernel's verifier. A lab whose services change
keeps its data planes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ipos.lab import Lab, Settings
from tests.support.farm import CONFIG, Farm

_labs: list[Lab] = []
"""One, or none yet."""


@contextmanager
def farm_with(config: str = CONFIG) -> Iterator[Farm]:
    """The farm with these common parts, all servers ready and no connection left.

    For tests that leave it as they found it. If one does not, the next file gets another lab.
    """
    if _labs:
        try:
            Farm(_labs[0]).wait_idle()
            if _labs[0].settings.config != config:
                _labs[0].change(config)
        except AssertionError as error:
            print(f"another lab is made: {error}")
            end()
    if not _labs:
        _labs.append(Lab(Settings(name=f"ft{os.getpid()}", config=config)))
        _labs[0].up()
    farm = Farm(_labs[0])
    farm.wait_idle()
    yield farm


def end() -> None:
    """Take the lab down, if there is one."""
    while _labs:
        _labs.pop().down()
