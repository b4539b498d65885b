# SPDX-License-Identifier: Apache-2.0
"""One lab of three servers for all test files of a process that only want other services.

Another lab takes 7 s of CPU time, most of it in the kernel's verifier. A lab whose services change
keeps its data planes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from ipos.errors import IposError
from ipos.lab import Lab, Settings
from tests.support.farm import CONFIG, Farm

BOXED = os.environ.get("IPOS_TESTS_BOXED") == "1"
"""Whether each server's application is in a container: most of these tests hold there, too."""
_numbers = count()
_farms: list[Farm] = []
"""One, or none yet. It keeps the descriptors of its maps."""


@contextmanager
def farm_with(config: str = CONFIG) -> Iterator[Farm]:
    """The farm with these common parts, all servers ready and no connection left.

    For tests that leave it as they found it. If one does not, the next file gets another lab.
    """
    try:
        for farm in _farms:
            farm.wait_idle()
            if farm.lab.settings.config != config:
                farm.lab.change(config)
    except (AssertionError, IposError) as error:
        print(f"another lab is made: {error}")
        end()
    if not _farms:
        # Another name each time: what was once done to a lab is remembered by its name.
        name = f"ft{os.getpid()}-{next(_numbers)}"
        lab = Lab(Settings(name=name, config=config, boxed=BOXED))
        lab.up()
        _farms.append(Farm(lab))
    _farms[0].wait_idle()
    yield _farms[0]


def end() -> None:
    """Take the lab down, if there is one."""
    while _farms:
        _farms.pop().lab.down()
