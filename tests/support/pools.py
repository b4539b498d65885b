# SPDX-License-Identifier: Apache-2.0
"""Rows of `pools` as dicts, with the sums that the data plane searches."""

from collections.abc import Iterable, Mapping
from typing import Any


def pool(candidates: Iterable[Mapping[str, Any]], **fields: Any) -> dict[str, Any]:
    """The row of a pool; a candidate's weight is 1 and its ramp 0 unless it says otherwise.

    The data plane finds servers only in the order of their numbers.
    """
    found: list[dict[str, Any]] = []
    upto = 0
    for one in candidates:
        weight = one.get("weight", 1)
        upto += weight
        found.append({**one, "weight": weight, "upto": upto})
    ramps = [one.get("ramp", 0) for one in found]
    weights = {one["weight"] for one in found}
    return {
        "even": weights.pop() if len(weights) == 1 else 0, "mean": upto // max(1, len(found)),
        "count": len(found), "candidates": found, "ramp_least": min(ramps, default=0),
        "ramp_most": max(ramps, default=0), **fields,
    }  # fmt: skip
