# SPDX-License-Identifier: Apache-2.0
"""Frames between hosts as a ladder: hosts across, time down. Pure.

   client               s1                   s2
0.000 │ SYN ────────────▶│                    │
0.031 │◀──────── SYN-ACK │                    │
0.402 │                  │ type 1 connection ▶│
"""

from collections.abc import Sequence
from dataclasses import dataclass

_LEAST_GAP = 18
_TIME = 9


@dataclass(frozen=True, slots=True)
class Rung:
    """One frame. when_ms: since the first one."""

    when_ms: float
    sender: str
    receiver: str
    label: str


def draw(rungs: Sequence[Rung], hosts: Sequence[str]) -> str:
    """The ladder, `hosts` from left to right. KeyError for a rung of a host that is not there."""
    column = {host: at for at, host in enumerate(hosts)}
    longest = max((len(rung.label) for rung in rungs), default=0)
    gap = max(_LEAST_GAP, longest + 4)
    lines = [_header(hosts, gap)]
    lines += [_line(rung, column, gap) for rung in rungs]
    return "\n".join(line.rstrip() for line in lines)


def _header(hosts: Sequence[str], gap: int) -> str:
    line = [" "] * (_TIME + 2 + len(hosts) * (gap + 1) + gap)
    for at, host in enumerate(hosts):
        start = max(0, _rail(at, gap) - len(host) // 2)
        line[start : start + len(host)] = host
    line[0:2] = "ms"
    return "".join(line)


def _rail(at: int, gap: int) -> int:
    """The place of a host's line."""
    return _TIME + 1 + at * (gap + 1)


def _line(rung: Rung, column: dict[str, int], gap: int) -> str:
    sender, receiver = column[rung.sender], column[rung.receiver]
    line = [" "] * (_rail(len(column) - 1, gap) + 1)
    line[0:_TIME] = f"{rung.when_ms:{_TIME}.3f}"
    for at in column.values():
        line[_rail(at, gap)] = "│"
    left, right = sorted((_rail(sender, gap), _rail(receiver, gap)))
    for at in range(left + 1, right):
        line[at] = "┼" if line[at] == "│" else "─"
    # The label stands beside its sender, in the first gap that the frame crosses.
    text = f" {rung.label} "
    if sender < receiver:
        line[left + 1 : left + 1 + len(text)] = text
        line[right - 1] = "▶"
    else:
        line[right - len(text) : right] = text
        line[left + 1] = "◀"
    return "".join(line)
