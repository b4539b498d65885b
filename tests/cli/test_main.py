# SPDX-License-Identifier: Apache-2.0
"""The root command: what it lists exists, and listing it imports nothing it does not need."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from ipos import __version__
from ipos.cli.main import SUBCOMMANDS


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
        "import ipos.cli.client, ipos.cli.fallback, ipos.cli.columns\n"
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
