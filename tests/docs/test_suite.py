# SPDX-License-Identifier: Apache-2.0
"""`make test` runs a farm test that has failed once more, and nothing else."""

from pathlib import Path

import pytest

from scripts import suite

_HEAD = """
import pathlib, pytest
def once(name):
    file = pathlib.Path(__file__).with_name(name)
    known = file.exists()
    file.touch()
    return known
"""
_UNSTEADY = """
@pytest.mark.farm
def test_unsteady():
    assert once("unsteady")
"""
_BROKEN = """
@pytest.mark.farm
def test_broken():
    assert False
"""
_PLAIN = """
def test_plain():
    assert once("plain")
"""
_MANY = """
@pytest.mark.farm
@pytest.mark.parametrize("n", range(5))
def test_many(n):
    assert once(f"many{n}")
"""


@pytest.mark.parametrize(
    ("tests", "status", "unsteady"),
    [
        (_UNSTEADY, 0, ["test_made_up.py::test_unsteady"]),
        (_UNSTEADY + _BROKEN, 1, ["test_made_up.py::test_unsteady"]),
        (_UNSTEADY + _PLAIN, 1, []),
        (_MANY, 1, []),
    ],
    ids=["passes", "broken", "plain", "many"],
)
def test_a_failed_farm_test_runs_once_more(
    tests: str, status: int, unsteady: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    conftest = Path(__file__).parents[1] / "conftest.py"
    (tmp_path / "conftest.py").write_text(conftest.read_text().replace("os.geteuid()", "0"))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  farm\n  alone\n  slow\n")
    (tmp_path / "test_made_up.py").write_text(_HEAD + tests)
    assert suite.main(["-q", "-n0", "-p", "no:cacheprovider"]) == status
    said_of = [line.split()[1] for line in capfd.readouterr().out.splitlines() if _is_told(line)]
    assert said_of == unsteady


def _is_told(line: str) -> bool:
    return line.startswith("unsteady: ") and line.endswith(suite.PASSED_THEN)
