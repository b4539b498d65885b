# SPDX-License-Identifier: Apache-2.0
"""Writes the manual pages of section 1, from the signatures of the commands themselves.

python -m scripts.manpages DIRECTORY
"""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from ipos import __version__
from ipos.cli.examples import EXAMPLES
from ipos.cli.main import OF_A_DATA_PLANE, SUBCOMMANDS, choices
from scripts.docs.commands import Parameter, commands, parameters


def pages() -> dict[str, str]:
    """The text of every page, by its file's name."""
    found = {"ipos.1": _root()}
    for name in SUBCOMMANDS:
        found[f"ipos-{name}.1"] = _page(name)
    return found


def _root() -> str:
    listed = ((f"ipos-{name}(1)", entry.summary) for name, entry in sorted(SUBCOMMANDS.items()))
    return "\n".join(
        (
            *_head("ipos", "a server farm without a load-balancer tier"),
            ".SH SYNOPSIS",
            r".B ipos",
            r"COMMAND [ARGUMENTS]",
            ".SH DESCRIPTION",
            "Clients connect to any server of the farm, and the best one replies.",
            "Each command has a page of its own.",
            ".SH COMMANDS",
            *(
                line
                for word, text in listed
                for line in (".TP", f".B {_plain(word)}", _plain(text))
            ),
            ".SH FILES",
            ".TP",
            ".I /etc/ipos/ipos.toml",
            "The configuration of this server.",
            ".SH EXIT STATUS",
            "0: done. 1: a fault, said in one sentence on standard error. 2: wrong usage.",
            "",
        )
    )


def _page(name: str) -> str:
    of_it = [(path, function) for path, function in commands() if path.split()[1] == name]
    lines = [*_head(f"ipos-{name}", SUBCOMMANDS[name].summary.rstrip(".")), ".SH SYNOPSIS"]
    for number, (path, function) in enumerate(of_it):
        lines += [".br"] * bool(number)
        usage = " ".join(each.usage for each in _parameters(path, function))
        lines += [f".B {_plain(path)}", _plain(usage)] if usage else [f".B {_plain(path)}"]
    lines.append(".SH DESCRIPTION")
    for path, function in of_it:
        if len(of_it) > 1:
            lines.append(f".SS {_plain(path)}")
        text = inspect.cleandoc(function.__doc__ or "")
        for number, paragraph in enumerate(text.split("\n\n")):
            lines += [".PP"] * bool(number) + [_plain(" ".join(paragraph.split()))]
        for each in _parameters(path, function):
            lines += _described(each)
    lines.append(".SH EXAMPLES")
    for path, _ in of_it:
        for example in EXAMPLES[path.removeprefix("ipos ")]:
            lines += [".PP", ".EX", _plain(example), ".EE"]
    return "\n".join((*lines, ".SH SEE ALSO", ".BR ipos (1)", ""))


def _parameters(path: str, function: object) -> list[Parameter]:
    assert callable(function)
    found = sorted(parameters(function), key=lambda each: not each.spellings)
    return found + (parameters(choices) if path.split()[1] in OF_A_DATA_PLANE else [])


def _head(name: str, summary: str) -> Iterator[str]:
    yield f'.TH {name.upper()} 1 "" "ipos {__version__}" "User Commands"'
    yield ".SH NAME"
    yield rf"{_plain(name)} \- {_plain(summary)}"


def _described(each: Parameter) -> Iterator[str]:
    yield ".TP"
    words = " ".join(filter(None, (", ".join(each.spellings), each.value)))
    yield f".B {_plain(words)}"
    yield _plain(each.text) or r"\&"


def _plain(text: str) -> str:
    """Text as troff prints it: no escape, no request at a line's beginning, minus signs to copy."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("`", r"\(ga")
    return rf"\&{escaped}" if escaped[:1] in (".", "'") else escaped


def main() -> None:
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
