# SPDX-License-Identifier: Apache-2.0
"""Markdown, and the remarks that code carries: comments and docstrings as prose."""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence

_REMARK = re.compile(r"^    (\w+)\s*[:=][^#\n]*#\s*(.+)$", re.MULTILINE)


NOTE = "<!-- Written by `make docs` from the code. Edits here are lost. -->"


def page(name: str, introduction: str, sections: Iterable[str]) -> str:
    """A whole generated document."""
    return "\n\n".join((f"# {name}", NOTE, inspect.cleandoc(introduction), *sections)) + "\n"


def section(name: str, *blocks: str) -> str:
    return "\n\n".join((f"## {name}", *(block.strip("\n") for block in blocks)))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.strip(chr(10))}\n```"


def code(text: object) -> str:
    return f"`{text}`"


def remarks(kind: type) -> Mapping[str, str]:
    """Name of a field or enumerator -> the comment at the end of its line."""
    return dict(_REMARK.findall(inspect.getsource(kind)))


def summary(thing: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def prose(thing: object) -> str:
    """A whole docstring."""
    return inspect.getdoc(thing) or ""


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
