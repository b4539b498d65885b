# SPDX-License-Identifier: Apache-2.0
"""What a row's frames have counted for services, pools, rules and servers fits its counters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipos.abi.rows import Decided, RefusedBy, Timed
from ipos.kernel.tallies import Tallies

SERVICE, INDICES = 1, range(8)


def check_tallies(tallies: Tallies, counts: Mapping[str, int], *, on_connection: bool) -> None:
    """on_connection: the service chooses when the SYN comes, and counts only then."""
    tally = tallies.service(SERVICE)
    decided = {one: tally.decided[one] for one in Decided}
    refused = {one: tally.refused[one] for one in RefusedBy}
    n: Any = {**dict.fromkeys(_NAMES, 0), **counts}
    if not on_connection:
        assert decided[Decided.HERE] == n["SERVED_HERE"]
        assert decided[Decided.AWAY] + decided[Decided.MOVED] == n["MIGRATED"]
        told = tallies.histogram(SERVICE, Timed.MIGRATION).buckets
        assert sum(told) <= n["ACKNOWLEDGED"]
    assert decided[Decided.REDIRECTED] == n["REDIRECTED"]
    assert refused[RefusedBy.BY_503] == n["UNAVAILABLE"]
    assert refused[RefusedBy.BY_431] == n["DROP_HEAD_TOO_LONG"]
    ambiguous = sum(count for name, count in counts.items() if name.startswith("AMBIGUOUS_"))
    heads = ambiguous + n["HEAD_TIMEOUT"]
    answered = refused[RefusedBy.BY_400] + refused[RefusedBy.BY_408]
    assert answered <= heads <= answered + refused[RefusedBy.BY_RST]
    assert refused[RefusedBy.BY_RST] <= n["RST_SENT"] + n["DROP_NO_SERVER"]
    assert sum(tallies.server(index).refused for index in INDICES) == n["CHOSEN_AGAIN"]
    everything = sum(decided.values())
    assert sum(tallies.server(index).decided for index in INDICES) == everything
    assert sum(tallies.pool(index).decided for index in INDICES) == everything
    assert sum(tallies.rule(number).decided for number in INDICES) == everything


_NAMES = ("SERVED_HERE", "MIGRATED", "REDIRECTED", "UNAVAILABLE", "DROP_HEAD_TOO_LONG", "RST_SENT",
          "HEAD_TIMEOUT", "CHOSEN_AGAIN", "DROP_NO_SERVER", "ACKNOWLEDGED")  # fmt: skip
