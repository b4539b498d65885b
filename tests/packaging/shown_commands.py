# SPDX-License-Identifier: Apache-2.0
"""The commands that pages tell their readers to type, as they stand there."""

import re

from tests.packaging.commands import ROOT

_HEADING = re.compile(r"^(#+ .+)$")
_CODE = re.compile(r"`(ipos [^`]+)`")


def blocks(page: str, heading: str) -> list[list[str]]:
    """The shell blocks of a page between one heading and the next, as lines without comments."""
    found: list[list[str]] = []
    under, fence = "", ""
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            fence = "" if fence else line
            if fence == "```sh" and under == heading:
                found.append([])
        elif fence == "```sh" and under == heading:
            found[-1] += filter(None, [re.sub(r"(^|\s+)#.*$", "", line)])
        elif not fence and _HEADING.match(line):
            under = line
    return found


def block(page: str, heading: str, beginning: str) -> list[str]:
    """The one of them that has a line with this beginning."""
    (found,) = (
        lines
        for lines in blocks(page, heading)
        if any(line.startswith(beginning) for line in lines)
    )
    return found


def in_table(page: str, heading: str) -> list[str]:
    """The commands of `ipos` in a table, in its order."""
    _, _, rest = (ROOT / page).read_text(encoding="utf-8").partition(f"\n{heading}\n")
    rows = [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return [command for row in rows for command in _CODE.findall(row)]
