# SPDX-License-Identifier: Apache-2.0
"""`make test` runs the file of a farm test that has failed once more, and nothing else."""

from pathlib import Path

import pytest

from scripts import suite

_INI = """
[pytest]
markers =
  farm
  alone
  slow
timeout = 1
"""
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
_ENDLESS = """
@pytest.mark.farm
def test_endless():
    import threading
    once("endless") or threading.Event().wait()
"""
_GOES_ON = """
begun = []
@pytest.mark.farm
def test_begins():
    begun.append(True)
@pytest.mark.farm
def test_goes_on():
    assert begun and once("goes on")
"""
_PLAIN = """
def test_plain():
    assert once("plain")
"""


@pytest.mark.parametrize(
    ("tests", "status", "unsteady"),
    [
        (_UNSTEADY, 0, ["test_made_up.py::test_unsteady"]),
        (_ENDLESS, 0, ["test_made_up.py::test_endless"]),
        (_GOES_ON, 0, ["test_made_up.py::test_goes_on"]),
        (_UNSTEADY + _BROKEN, 1, ["test_made_up.py::test_unsteady"]),
        (_UNSTEADY + _PLAIN, 1, []),
    ],
    ids=["passes", "endless", "goes on", "broken", "plain"],
)
def test_a_failed_farm_test_runs_once_more(
    tests: str, status: int, unsteady: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    conftest = Path(__file__).parents[1] / "conftest.py"
    monkeypatch.setenv("PYTHONPATH", str(conftest.parents[1]))
    (tmp_path / "conftest.py").write_text(conftest.read_text().replace("os.geteuid()", "0"))
    (tmp_path / "pytest.ini").write_text(_INI)
    (tmp_path / "test_made_up.py").write_text(_HEAD + tests)
    assert suite.main(["-q", "-n0", "-p", "no:cacheprovider"]) == status
    said_of = [line.split()[1] for line in capfd.readouterr().out.splitlines() if _is_told(line)]
    assert said_of == unsteady


def test_farm_tests_of_many_files_do_not(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {f"test_{n}.py::test_it": True for n in range(suite.FILES_AGAIN + 1)}
    asked = []

    def made_up(arguments: list[str]) -> tuple[int, dict[str, bool]]:
        asked.append(arguments)
        return (1, found) if "-n" in arguments else (0, {})

    monkeypatch.setattr(suite, "_pytest", made_up)
    assert suite.main([]) == 1
    assert len(asked) == len(suite.STEPS)
    found.popitem()
    assert suite.main([]) == 0
    assert f"unsteady: test_0.py::test_it {suite.PASSED_THEN}" in capfd.readouterr().out


def _is_told(line: str) -> bool:
    return line.startswith("unsteady: ") and line.endswith(suite.PASSED_THEN)
