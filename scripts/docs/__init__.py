# SPDX-License-Identifier: Apache-2.0
"""The parts of `docs/` that are derived from code. `make docs` writes them.

They are committed, so that they can be read without running anything, and `tests/docs` fails when
one of them is not what the code says now.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from scripts.docs import commands, configuration, counters, frames, states, tables

DIRECTORY = Path(__file__).resolve().parents[2] / "docs"

DOCUMENTS: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "commands.md": commands.document,
        "configuration.md": configuration.document,
        "counters.md": counters.document,
        "frames.md": frames.document,
        "states.md": states.document,
        "tables.md": tables.document,
    }
)
"""File name in `docs/` -> its whole text."""
