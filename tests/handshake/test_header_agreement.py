# SPDX-License-Identifier: Apache-2.0
"""The oracle's constants are the data plane's: both stand in ``abi/ipos.h``."""

from __future__ import annotations

import re
from enum import IntEnum, IntFlag

import pytest

from ipos.handshake import keys, options
from ipos.selection.policies import Policy, ServerState
from scripts.abi.reader import CONCERNS, HEADERS
from spec.handshake import answers, cookies
from spec.handshake.unattached import TABLE
from spec.requests import head, window

HEADER = "".join((HEADERS / "abi" / f"{name}.h").read_text() for name in CONCERNS)


def define(name: str) -> int:
    found = re.search(rf"^#define {name}\s+(\w+)", HEADER, re.MULTILINE)
    assert found, f"{name} is not in ipos.h"
    return int(found[1].rstrip("U"), 0)


def enum(name: str, prefix: str) -> dict[str, int]:
    body = re.search(rf"^enum {name} \{{(.*?)\}};", HEADER, re.MULTILINE | re.DOTALL)
    assert body, f"enum {name} is not in ipos.h"
    return {k: int(v) for k, v in re.findall(rf"{prefix}(\w+) = (\d+)", body[1])}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IPOS_EPOCH_S", keys.EPOCH_S),
        ("IPOS_WSCALE", options.OUR_WINDOW_SCALE),
        ("IPOS_MSS", options.OUR_MSS),
        ("IPOS_MSS_MIN", options.MSS_MIN),
        ("IPOS_WINDOW", answers.WINDOW),
        ("IPOS_WSCALE_NONE", cookies.WINDOW_SCALE_NONE),
        ("IPOS_HEAD_MAX", head.HEAD_MAX),
        ("IPOS_HEAD_MAX", window.WINDOW),
        ("IPOS_RANGES", window.PIECES_MAX),
    ],
)
def test_constants(name: str, value: int) -> None:
    assert define(name) == value


def test_policies_and_states() -> None:
    states = enum("ipos_server_state", "IPOS_SERVER_")
    assert states == {s.name: s.value for s in ServerState}
    assert enum("ipos_policy", "IPOS_") == {p.name: p.value for p in Policy}


def test_option_flags() -> None:
    header = enum("ipos_options", "IPOS_OPT_")
    names: dict[str, IntFlag | IntEnum] = {
        "SACK": cookies.Agreed.SACK,
        "TIMESTAMPS": cookies.Agreed.TIMESTAMPS,
        "WSCALE": cookies.Agreed.WINDOW_SCALE,
        "ECN": cookies.Agreed.ECN,
    }
    assert {name: header[name] for name in names} == names


def test_every_counter_of_the_table_exists() -> None:
    known = set(re.findall(r"X\(\d+, (\w+),", HEADER))
    used = {c for row in TABLE.values() for then in row.values() for c in then.counters}
    assert used <= known
