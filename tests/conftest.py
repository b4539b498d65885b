# SPDX-License-Identifier: Apache-2.0
"""What all tests share: farm tests are skipped, with the reason said, where they cannot run."""

import os

import pytest
from hypothesis import settings

# A deadline would make the tests' outcome a matter of the machine's load.
settings.register_profile("ipos", deadline=None)
settings.load_profile("ipos")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="farm tests need root: network namespaces and BPF")
    for item in items:
        if item.get_closest_marker("farm"):
            item.add_marker(skip)
