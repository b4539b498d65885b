# SPDX-License-Identifier: Apache-2.0
"""docs/counters.md: from IPOS_COUNTERS in ipos.h."""

from collections.abc import Iterable

from ipos.abi.layout import Counter, header
from scripts.docs.markdown import code, page, section, table

_INTRODUCTION = """
Everything the data plane drops or does is counted under one of these names, on each server.
Numbers are append-only: one never changes its meaning and is never used again.

```sh
ipos counters            # those that are not zero, with their meaning
ipos counters --all
ipos counters -o json    # one object, name to number, zeros included
```
"""


def document() -> str:
    found = header().counters
    drops = _table(each for each in found if each.is_drop)
    events = _table(each for each in found if not each.is_drop)
    return page(
        "Counters",
        _INTRODUCTION,
        (
            section("Drops", "The frame ends here.", drops),
            section("Events", "The frame went on, or an answer went out.", events),
        ),
    )


def _table(counters: Iterable[Counter]) -> str:
    rows = ((each.number, code(each.name.lower()), each.text) for each in counters)
    return table(("Number", "Counter", "Meaning"), rows)
