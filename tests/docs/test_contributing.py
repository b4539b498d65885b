# SPDX-License-Identifier: Apache-2.0
"""CONTRIBUTING.md: the files that a change touches exist, and are few."""

import re
from collections.abc import Iterator

import pytest

from scripts.docs import DIRECTORY

ROOT = DIRECTORY.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES_MAX = 4

_SPAN = re.compile(r"`([^`]+)`(?: \(`([^`]+)`)?")
_FILE = re.compile(r"[\w./-]+\.(?:h|py)")


def _rows(heading: str) -> Iterator[tuple[str, str]]:
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    for line in section.splitlines():
        if line.startswith("| ") and not line.startswith(("| What |", "| Folder |")):
            what, files = line.strip("| ").split(" | ")
            yield what, files


CHANGES = dict(_rows("How to add something"))


def _named(cell: str) -> Iterator[tuple[str, str]]:
    """The files of a row with what is to be found in each; a bare name is beside the one before."""
    folder = ""
    for span, inside in _SPAN.findall(cell):
        if _FILE.fullmatch(span):
            folder, _, name = span.rpartition("/") if "/" in span else (folder, "", span)
            yield f"{folder}/{name}", inside


def test_ten_kinds_of_changes_are_told() -> None:
    assert len(CHANGES) == 10


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_touches_few_files_and_they_exist(what: str) -> None:
    cell = CHANGES[what].replace("the same", CHANGES["a counter"])
    found = [(file, inside) for file, inside in _named(cell) if "/COMMAND." not in file]
    assert found
    for file, inside in found:
        assert (ROOT / file).is_file(), f"{what}: {file}"
        assert inside in (ROOT / file).read_text(encoding="utf-8"), f"{what}: {file}, {inside}"
    elsewhere = len(re.findall(r"/COMMAND\.|its use|place that counts|the reader in", cell))
    assert len(found) + elsewhere <= FILES_MAX, what


@pytest.mark.parametrize("folders", [row[0] for row in _rows("Where things are")])
def test_folders_exist(folders: str) -> None:
    parent = ""
    for span, _ in _SPAN.findall(folders):
        parent, _, name = span.rpartition("/") if "/" in span else (parent, "", span)
        assert (ROOT / parent / name).is_dir(), span


def test_every_folder_of_the_package_is_told() -> None:
    told = set()
    for folders, _ in _rows("Where things are"):
        parent = ""
        for span, _ in _SPAN.findall(folders):
            parent, _, name = span.rpartition("/") if "/" in span else (parent, "", span)
            told.add(f"{parent}/{name}")
    package = ROOT / "src" / "ipos"
    found = {
        init.parent.relative_to(ROOT).as_posix()
        for top in (package, package / "agent")
        for init in top.glob("*/__init__.py")
    }
    assert found - {"src/ipos/agent"} <= told
