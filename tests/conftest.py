# SPDX-License-Identifier: Apache-2.0
"""What all tests share: farm tests are skipped, with the reason said, where they cannot run."""

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="farm tests need root: network namespaces and BPF")
    for item in items:
        if item.get_closest_marker("farm"):
            item.add_marker(skip)
