# SPDX-License-Identifier: Apache-2.0
"""docs/commands.md: from the signatures of the commands themselves."""

import importlib
import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import typer
from typer.models import ArgumentInfo, OptionInfo

from ipos.agent.http import api
from ipos.cli.main import OF_A_DATA_PLANE, SUBCOMMANDS, choices
from scripts.docs.markdown import code, fenced, page, section, table

_HTTP = """
The running agent answers the same questions on the Unix socket `/run/ipos/api.sock`.

```sh
curl --unix-socket /run/ipos/api.sock http://ipos/metrics
```
"""


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument (no `spellings`) or option of a command. `value` is empty for a flag."""

    spellings: tuple[str, ...]
    value: str
    required: bool
    text: str

    @property
    def usage(self) -> str:
        words = " ".join(filter(None, (*self.spellings[-1:], self.value)))
        return words if self.required else f"[{words}]"


_INTRODUCTION = """
Data goes to stdout, messages to stderr. Exit status: 0 done, 1 a fault, said in one sentence,
2 wrong usage.
"""


def document() -> str:
    return page(
        "Commands",
        _INTRODUCTION,
        (
            *(_section(path, function) for path, function in commands()),
            section("HTTP", _HTTP.strip(), fenced("text", inspect.getdoc(api) or "")),
        ),
    )


def commands() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every command by its full name, those of groups included."""
    for name, entry in SUBCOMMANDS.items():
        app: typer.Typer = importlib.import_module(entry.module).app
        for command in app.registered_commands:
            function = command.callback
            assert function is not None
            own = command.name or function.__name__.replace("_", "-")
            alone = len(app.registered_commands) == 1 and app.registered_callback is None
            yield (f"ipos {name}" if alone else f"ipos {name} {own}"), function


def parameters(function: Callable[..., Any]) -> list[Parameter]:
    hints = typing.get_type_hints(function, include_extras=True)
    signature = inspect.signature(function).parameters
    return [
        _parameter(name, hints[name], each.default is inspect.Parameter.empty)
        for name, each in signature.items()
    ]


def _parameter(name: str, hint: Any, required: bool) -> Parameter:
    kind, info = hint.__origin__, hint.__metadata__[0]
    if isinstance(info, ArgumentInfo):
        return Parameter((), str(info.metavar or name.upper()), required, info.help or "")
    assert isinstance(info, OptionInfo)
    # In an Annotated, the first spelling stands where a default value otherwise would.
    given = (info.default, *(info.param_decls or ()))
    spellings = dict.fromkeys(
        each for each in given if isinstance(each, str) and each.startswith("-")
    )
    default = f"--{name.replace('_', '-')}"
    value = "" if kind is bool else info.metavar or _choices(kind) or name.upper()
    return Parameter(tuple(spellings) or (default,), value, required, info.help or "")


def _choices(kind: Any) -> str:
    if not (isinstance(kind, type) and issubclass(kind, Enum)):
        return ""
    return "|".join(str(each.value) for each in kind)


def _section(path: str, function: Callable[..., Any]) -> str:
    found = sorted(parameters(function), key=lambda each: not each.spellings)
    if path.split()[1] in OF_A_DATA_PLANE:
        found += parameters(choices)
    blocks = [
        " ".join(inspect.cleandoc(function.__doc__ or "").split()),
        code(" ".join((path, *(each.usage for each in found)))),
    ]
    if found:
        rows = (
            (", ".join(map(code, each.spellings or (each.value,))), each.text) for each in found
        )
        blocks.append(table(("Argument", "Meaning"), rows))
    return section(path, *blocks)
