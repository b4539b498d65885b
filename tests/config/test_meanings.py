# SPDX-License-Identifier: Apache-2.0
"""Every key of the configuration has a meaning in words, and none that has gone has."""

import msgspec

from ipos.config.meanings import MEANINGS
from scripts.docs.configuration import _TABLES


def test_every_key_has_a_meaning() -> None:
    fields = msgspec.structs.fields
    keys = {f"{kind.__name__}.{one.name}" for kind in _TABLES for one in fields(kind)}
    assert MEANINGS.keys() == keys


def test_meanings_are_sentences() -> None:
    assert [text for text in MEANINGS.values() if not text.endswith(".")] == []
