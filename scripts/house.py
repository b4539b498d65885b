# SPDX-License-Identifier: Apache-2.0
"""The countable rules of CONTRIBUTING.md, held by `make lint`."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINES, FUNCTION_LINES, COLUMNS, FOLDER_FILES = 400, 70, 100, 15
LAYERS = ("abi", "lib", "http", "tls", "quic", "select", "xdp", "tc", "sock")
"""Folders of `bpf/`, from the ground up: a header includes from its own and those before it."""
PEERS = ("xdp", "tc", "sock")
"""The folders of the programs: none of them includes from another."""
REPEATED = ("__init__", "__main__", "errors", "conftest")
"""Names that several Python modules may have. Tests are called after what they test."""
GENERATED = ("src/ipos/abi/header_data.py", "src/ipos/abi/rows.py")
_FOR = re.compile(
    r"[,;]\s+(?:\*\s+)?for\s+(the|a|an|it|its|they|their|he|she|we|no|nobody|nothing|that|there|this|what|who"
    r"|only|some|most|each|one|both)\b"
)
_INCLUDE = re.compile(r'^#include "([\w./]+)"', re.MULTILINE)
_IMPORT = re.compile(r"^\s*(?:from|import) (spec|native|tests|fuzz)\b", re.MULTILINE)


def tracked(*globs: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", *globs], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.split()]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def sizes() -> Iterator[str]:
    for path in tracked("*.py", "*.c", "*.h"):
        if name(path) in GENERATED:
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > LINES:
            yield f"{name(path)} has {len(lines)} lines, more than {LINES}: split it by concern"
        if path.suffix == ".py":
            yield from _python_functions(path)
            continue
        for number, line in enumerate(lines, 1):
            if len(line.expandtabs(8)) > COLUMNS and not re.match(r"\s*X\(", line):
                yield f"{name(path)}:{number} is longer than {COLUMNS} columns"
        yield from _functions(path, lines)


def _functions(path: Path, lines: list[str]) -> Iterator[str]:
    """C functions, whose brace stands alone in the first column."""
    start = 0
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            if number - start - 1 > FUNCTION_LINES:
                yield (
                    f"{name(path)}:{start} a function of {number - start - 1} lines, "
                    f"more than {FUNCTION_LINES}: give a part of it a name of its own"
                )
            start = 0


def _python_functions(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield (
                    f"{name(path)}:{node.lineno} {node.name} has {lines} lines, more than "
                    f"{FUNCTION_LINES}: give a part of it a name of its own"
                )


def stems() -> Iterator[str]:
    """No two modules of a top folder have the same name. `cli` has one for each command."""
    found: dict[tuple[str, str], str] = {}
    for path in tracked("*.py"):
        top, stem = name(path).split("/")[0], path.stem
        may_repeat = stem in REPEATED or stem.startswith("test_") or path.parent.name == "cli"
        if may_repeat:
            continue
        if (top, stem) in found:
            yield f"{name(path)}: {found[top, stem]} is called {stem} too"
        found[top, stem] = name(path)


def includes() -> Iterator[str]:
    """Each header compiles alone, and includes nothing from above it."""
    machine = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True)
    flags = ["-target", "bpf", "-mcpu=v3", "-Wall", "-Werror", "-Wno-unused-function", "-O2"]
    flags += [f"-I/usr/include/{machine.stdout.strip()}-linux-gnu", f"-I{ROOT / 'bpf'}"]
    stems = Counter(path.stem for path in tracked("bpf/*.h"))
    for path in tracked("bpf/*.h"):
        if stems[path.stem] > 1:
            yield f"{name(path)}: another header is called {path.stem} too"
        folder = path.parent.name
        for included in _INCLUDE.findall(path.read_text()):
            other = included.split("/")[0]
            above = other in LAYERS and LAYERS.index(other) > LAYERS.index(folder)
            beside = other in PEERS and folder in PEERS and other != folder
            if above or beside:
                yield f"{name(path)} includes {included}: {folder} may not depend on {other}"
        ran = subprocess.run(
            ["clang", *flags, "-fsyntax-only", "-x", "c", str(path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if ran.returncode:
            yield f"{name(path)} does not compile alone:\n{ran.stderr.strip()}"


def imports() -> Iterator[str]:
    for path in tracked("src/*.py", "tests/*.py"):
        inside = name(path).split("/")[0]
        forbidden = ("spec", "native", "tests", "fuzz") if inside == "src" else ("fuzz",)
        for package in _IMPORT.findall(path.read_text(encoding="utf-8")):
            if package in forbidden:
                yield f"{name(path)} imports {package}, which is not in the wheel or not below it"


def waits() -> Iterator[str]:
    """Nothing sleeps in the agent's event loop. `grace.wait` is called in a thread."""
    for path in tracked("src/ipos/agent/*.py"):
        if path.name == "grace.py":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(r"\btime\.sleep\(|\bsubprocess\b", line):
                yield f"{name(path)}:{number} makes the event loop wait: {line.strip()}"


def prose() -> Iterator[str]:
    """No "for" in the place of "because", which many readers take for a purpose."""
    for path in tracked("src/*.py", "bpf/*.[ch]", "*.md"):
        if path.name == "CHANGELOG.md" or name(path) in GENERATED:
            continue
        text = path.read_text(encoding="utf-8")
        for found in _FOR.finditer(text):
            number = text.count("\n", 0, found.start()) + 1
            said = " ".join(found.group().split())
            yield f'{name(path)}:{number} "{said}": write because, or leave out the comma'


def folders() -> Iterator[str]:
    sizes = Counter(path.parent for path in tracked("src/ipos/agent/*.py"))
    for folder, count in sizes.items():
        if count > FOLDER_FILES + 1:  # and __init__.py
            yield f"{name(folder)} has {count} files, more than {FOLDER_FILES}"


def circles() -> Iterator[str]:
    """The folders of the agent import each other in one direction, and none its own modules."""
    package = ROOT / "src/ipos/agent"
    sources = {
        path.relative_to(package).as_posix(): path.read_text(encoding="utf-8")
        for path in tracked("src/ipos/agent/*.py")
    }
    yield from circles_in("ipos.agent", sources)


def circles_in(package: str, sources: Mapping[str, str]) -> Iterator[str]:
    """By path below the package. Pure. The package's own modules count as the folder "."."""
    arrows: dict[str, dict[str, str]] = {}
    for path, text in sources.items():
        for module in imported(ast.parse(text)):
            parts = module.removeprefix(f"{package}.").split(".")
            if not module.startswith(f"{package}."):
                continue
            to = parts[0] if any(one.startswith(f"{parts[0]}/") for one in sources) else "."
            if to != folder_of(path):
                arrows.setdefault(folder_of(path), {}).setdefault(to, f"{path} imports {module}")
    for start in sorted(arrows):
        way = way_back(start, arrows)
        if way and start == min(way):
            told = "; ".join(arrows[one][to] for one, to in pairwise([*way, start]))
            yield f"folders of {package} import each other in a circle: {told}"


def folder_of(path: str) -> str:
    return path.split("/")[0] if "/" in path else "."


def way_back(start: str, arrows: Mapping[str, Iterable[str]]) -> list[str]:
    """The folders of a shortest circle from and to `start`; none when there is no circle."""
    ways = [[start]]
    seen = set()
    for way in ways:
        for to in arrows.get(way[-1], ()):
            if to == start:
                return way
            if to not in seen:
                seen.add(to)
                ways.append([*way, to])
    return []


def imported(tree: ast.AST) -> Iterator[str]:
    """The full names of what a module imports, for type checkers only as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def main() -> int:
    found = [*sizes(), *stems(), *includes(), *imports(), *waits(), *prose(), *folders()]
    found += circles()
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
