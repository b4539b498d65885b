# SPDX-License-Identifier: Apache-2.0
"""Every command has a manual page, which troff understands."""

import shutil
import subprocess

import pytest

from ipos.cli.main import SUBCOMMANDS
from scripts.manpages import pages

PAGES = pages()


def test_there_is_a_page_for_every_command() -> None:
    assert PAGES.keys() == {"ipos.1", *(f"ipos-{name}.1" for name in SUBCOMMANDS)}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_its_sections(name: str) -> None:
    for title in ("NAME", "SYNOPSIS", "DESCRIPTION"):
        assert f".SH {title}\n" in PAGES[name]
    assert all(ord(each) < 128 for each in PAGES[name])


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
@pytest.mark.parametrize("name", PAGES)
def test_troff_finds_no_fault(name: str) -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-z", "-Tutf8"],
        input=PAGES[name], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_options_can_be_copied() -> None:
    """A hyphen would be another character in a terminal."""
    assert r"\-\-weight W" in PAGES["ipos-server.1"]
