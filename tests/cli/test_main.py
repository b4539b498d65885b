# SPDX-License-Identifier: Apache-2.0
"""The root command: what it lists exists, and listing it imports nothing it does not need."""

import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from ipos import __version__
from ipos.cli.examples import EXAMPLES
from ipos.cli.main import OF_A_DATA_PLANE, SUBCOMMANDS, add_choices


def ipos(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ipos", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_listed_subcommand_can_be_imported(name: str) -> None:
    module = importlib.import_module(SUBCOMMANDS[name].module)
    assert isinstance(module.app, typer.Typer)


def test_help_names_every_subcommand() -> None:
    done = ipos("--help")
    assert done.returncode == 0
    for name in SUBCOMMANDS:
        assert f" {name} " in done.stdout


def test_help_imports_no_subcommand() -> None:
    """Start-up time is imports: the sum is kept small by what is absent, not by a stop-watch."""
    script = (
        "import sys; sys.argv = ['ipos', '--help']\n"
        "from ipos.cli.entry import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'asyncio', 'pyroute2', 'starlette', 'textual', 'msgspec', 'psutil', 'ctypes'}\n"
        "loaded = heavy | {m for m in sys.modules if m.startswith('ipos.')}\n"
        "loaded &= set(sys.modules)\n"
        "print(sorted(loaded), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == str(
        ["ipos.cli", "ipos.cli.entry", "ipos.cli.main", "ipos.errors"]
    )


def test_asking_the_agent_imports_nothing_of_the_data_plane() -> None:
    """`ipos status` is to answer within a third of a second, most of which is Python's own."""
    script = (
        "import sys\n"
        "import ipos.cli.status, ipos.cli.server, ipos.cli.explain, ipos.cli.watch\n"
        "import ipos.cli.client, ipos.cli.fallback, ipos.cli.text_table\n"
        "heavy = {'asyncio', 'pyroute2', 'starlette', 'msgspec', 'psutil', 'http.client', 'ssl'}\n"
        "heavy |= {m for m in sys.modules if m.startswith(('ipos.inic', 'ipos.tables'))}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("ipos wat", "watch"),
        ("ipos explain --cl", "--client"),
        ("ipos server s", "set"),
        ("ipos route t", "test"),
    ],
)
def test_shells_can_complete(typed: str, offered: str) -> None:
    position = str(len(typed.split()) - 1)
    asked = {"_IPOS_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": position}
    done = subprocess.run(
        [Path(sys.executable).parent / "ipos"],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [offered]


def test_version_is_printed_alone() -> None:
    assert ipos("--version").stdout == f"ipos {__version__}\n"


def test_unknown_subcommand_is_wrong_usage() -> None:
    done = ipos("nonsense")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "nonsense" in done.stderr


def test_a_mistyped_subcommand_is_told_the_nearest() -> None:
    assert "did you mean 'status'?" in ipos("statsu").stderr
    assert "Did you mean 'list'?" in ipos("lab", "lst").stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("table forwrd", "; did you mean 'forward'?"),
        ("status -o jsn", "'jsn' is not one of 'text', 'wide', 'json'; did you mean 'json'?"),
        ("lab fault cutt s2 front", "; did you mean 'cut'?"),
        ("counters -o xml", "'xml' is not one of 'text', 'json'"),
        ("demo --seconds long", "number"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(line: str, said: str) -> None:
    done = ipos(*line.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    for word in ("Value error", "Input should", "unable to parse"):
        assert word not in done.stderr


def test_the_short_option_for_help_is_taken_everywhere() -> None:
    for words in ((), ("status",), ("lab",), ("lab", "up"), ("config", "check")):
        asked = ipos(*words, "-h")
        assert (asked.returncode, asked.stdout) == (0, ipos(*words, "--help").stdout), words


def _commands() -> Iterator[tuple[str, Any]]:
    for name, entry in SUBCOMMANDS.items():
        command: Any = typer.main.get_command(importlib.import_module(entry.module).app)
        if name in OF_A_DATA_PLANE:
            add_choices(command)
        for own, each in getattr(command, "commands", {"": command}).items():
            yield f"{name} {own}".strip(), each


@pytest.mark.parametrize(("path", "command"), list(_commands()))
def test_every_command_shows_examples_that_it_understands(path: str, command: Any) -> None:
    assert path in EXAMPLES
    for line in EXAMPLES[path]:
        words = shlex.split(re.split(r" [|&]", line)[0])
        if words[1 : 1 + len(path.split())] != path.split():  # another command goes before it
            words = shlex.split(line.rpartition("&& ")[2])
        assert words[: 1 + len(path.split())] == ["ipos", *path.split()]
        rest = words[1 + len(path.split()) :]
        command.make_context(path, rest)
    help_lines = ipos(*path.split(), "--help").stdout.splitlines()
    assert [line.strip() for line in help_lines][-len(EXAMPLES[path]) :] == list(EXAMPLES[path])


def test_no_example_is_of_a_command_that_has_gone() -> None:
    assert EXAMPLES.keys() == {path for path, _ in _commands()}


@pytest.mark.parametrize("group", [(), ("lab",), ("config",)])
def test_groups_show_examples_too(group: tuple[str, ...]) -> None:
    _, _, examples = ipos(*group, "-h").stdout.partition("Examples:\n")
    lines = [line.strip() for line in examples.splitlines()]
    assert lines
    assert all(line.startswith(" ".join(("ipos", *group))) for line in lines)
