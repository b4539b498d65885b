# SPDX-License-Identifier: Apache-2.0
"""Links lead somewhere, and the commands, targets and files that are shown exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipos.config import parse
from scripts.docs import DIRECTORY
from scripts.docs.commands import commands, parameters

ROOT = DIRECTORY.parent
FILES = (
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted(DIRECTORY.glob("*.md")),
)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_PATH = re.compile(
    r"`((?:src|bpf|spec|native|fuzz|tests|scripts|bench|docs|packaging|LICENSES)/[\w./-]*)`"
)
_TAIL = re.compile(r"`([\w-]+/[\w./-]+\.(?:h|py|bpf\.c))`")
_MODULE = re.compile(r"`((?:ipos|spec|fuzz|native|bench|scripts)(?:\.\w+)+)`")
_SOURCES = (
    "examples",
    "src",
    "bpf",
    "spec",
    "native",
    "fuzz",
    "tests",
    "scripts",
    "bench",
    "packaging",
)

_OF_ROOT = {"--version", "--help", "--install-completion", "--show-completion"}
_SELECTION = re.compile(r"-k (?:\"([^\"]+)\"|(\w+))")

pytestmark = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def _prose(file: Path) -> str:
    return _FENCE.sub("", file.read_text(encoding="utf-8"))


def _anchors(file: Path) -> set[str]:
    """As GitHub makes them: lower case, spaces to hyphens, punctuation dropped."""
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in _HEADING.findall(_prose(file))
    }


def _shown(file: Path) -> Iterator[list[str]]:
    """Every command line of the shell blocks and of the code spans, as words."""
    text = file.read_text(encoding="utf-8")
    lines = [
        line for kind, body in _FENCE.findall(text) if kind == "sh" for line in body.split("\n")
    ]
    for line in (*lines, *re.findall(r"`((?:ipos|make|sudo) [^`]*)`", _FENCE.sub("", text))):
        for part in re.split(r"&&|;|\|(?= )|\\$", line):
            words = [
                Path(word).name if word.endswith("/ipos") else word
                for word in shlex.split(part, comments=True)
            ]
            if words:
                yield words


def test_links_lead_somewhere(file: Path) -> None:
    for target in _LINK.findall(_prose(file)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (file.parent / path).resolve() if path else file
        assert there.exists(), f"{file.name} links to {target}"
        if anchor:
            assert anchor in _anchors(there), f"{file.name} links to {target}"


def test_paths_of_the_source_exist(file: Path) -> None:
    for path in _PATH.findall(_prose(file)):
        named = path.replace("COMMAND", "status")
        assert (ROOT / named).exists(), f"{file.name} names {path}"


def test_files_named_by_their_folder_exist(file: Path) -> None:
    """A page may leave out the folders above, as in `expiry/ghosts.py`."""
    if file.name == "CHANGELOG.md":  # tells of files that have gone
        return
    for path in _TAIL.findall(_prose(file).replace("COMMAND", "status")):
        found = (each for top in _SOURCES for each in (ROOT / top).rglob(Path(path).name))
        assert any(each.as_posix().endswith(f"/{path}") for each in found), f"{file.name}: {path}"


def test_modules_that_are_named_exist(file: Path) -> None:
    """`spec.requests.url`, or with a name of the module behind it."""
    for named in _MODULE.findall(_prose(file)) if file.name != "CHANGELOG.md" else ():
        parts = named.split(".")
        top = ROOT / "src" if parts[0] == "ipos" else ROOT
        while parts and not _module(top.joinpath(*parts)).exists():
            parts.pop()
        assert parts, f"{file.name}: {named}"
        rest = named.removeprefix(".".join(parts)).strip(".")
        source = _module(top.joinpath(*parts)).read_text(encoding="utf-8")
        assert rest.partition(".")[0] in source, f"{file.name}: {named}"


def _module(path: Path) -> Path:
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_shown_commands_exist_with_their_options(file: Path) -> None:
    known = {tuple(path.split()): parameters(function) for path, function in commands()}
    for words in _shown(file):
        while "ipos" in words:
            words = words[words.index("ipos") :]
            path = next((p for p in known if tuple(words[: len(p)]) == p), None)
            groups = {p[:2] for p in known if len(p) == 3}
            alone = set(words[1:]) <= _OF_ROOT or tuple(words) in groups
            assert path or alone, f"{file.name}: {words}"
            own = words[: words.index("--")] if "--" in words else words
            spellings = {each for one in known.get(path or (), ()) for each in one.spellings}
            for option in (each for each in own if path and each.startswith("-")):
                assert option in spellings, f"{file.name}: {words} has no {option}"
            words = words[1:]


def test_shown_make_targets_exist(file: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for words in _shown(file):
        if "make" in words:
            named = [each for each in words[words.index("make") + 1 :] if "=" not in each]
            assert set(named) <= targets, f"{file.name}: {words}"


def test_shown_selections_of_tests_select_some(file: Path) -> None:
    names = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    for path in (ROOT / "tests").rglob("test_*.py"):
        names.update(re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE))
    for several, one in _SELECTION.findall(file.read_text(encoding="utf-8")):
        for word in (several or one).split(" or "):
            assert any(word in name for name in names), f"{file.name}: no test matches {word}"


def test_a_whole_configuration_file_that_is_shown_is_right(file: Path, tmp_path: Path) -> None:
    secret = tmp_path / "farm.key"
    secret.touch(mode=0o600)
    secret.write_text("x" * 32)
    for kind, body in _FENCE.findall(file.read_text(encoding="utf-8")):
        if kind == "toml" and "[farm]" in body:
            text = re.sub(r'secret_file = "[^"]*"', f'secret_file = "{secret}"', body)
            parse(text, tmp_path / "ipos.toml")
