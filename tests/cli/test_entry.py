# SPDX-License-Identifier: Apache-2.0
"""Two commands begin without the command line's library; what they do not understand is its."""

import subprocess
import sys
from pathlib import Path

import pytest

from ipos.cli import entry
from ipos.errors import IposError


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was begun, instead of beginning it."""
    found: list[object] = []
    monkeypatch.setattr(entry, "_serve", found.append)
    monkeypatch.setattr(entry, "_enter", lambda *where: found.append(where))
    return found


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("agent", None),
        ("agent --config a.toml", "a.toml"),
        ("lab exec s1 true", ("farm", "s1", ["true"])),
        ("lab exec s1 -- curl -s --name x", ("farm", "s1", ["--", "curl", "-s", "--name", "x"])),
        ("lab exec --name five s1 -- sh", ("five", "s1", ["--", "sh"])),
    ],
)
def test_what_begins_at_once(begun: list[object], line: str, what: object) -> None:
    assert entry._begins_at_once(line.split())
    assert begun == [what]


@pytest.mark.parametrize(
    "line",
    [
        "", "status", "agent --help", "agent --config", "agent --config=a", "agent a.toml",
        "lab up", "lab exec", "lab exec s1", "lab exec s1 --", "lab exec --help",
        "lab exec --name five", "lab exec --name five s1", "lab exec --name five s1 --",
        "lab exec --nonsense s1 -- true", "lab exec --name --help s1 true",
    ],
)  # fmt: skip
def test_what_is_left_to_the_library(begun: list[object], line: str) -> None:
    assert not entry._begins_at_once(line.split())
    assert begun == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (["agent", "--config", "/nowhere/ipos.toml"], "/nowhere/ipos.toml"),
        (["lab", "exec", "--name", "no-such-lab", "s1", "true"], "lab no-such-lab is not up"),
    ],
)
def test_a_fault_is_a_sentence_without_the_library(line: list[str], why: str) -> None:
    script = (
        "import sys\n"
        "from ipos.cli.entry import main\n"
        f"sys.argv = ['ipos', *{line}]\n"
        "try: main()\n"
        "finally: print(sorted({'typer', 'pydantic', 'rich'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("ipos: ")
    assert why in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout.strip() in ("[]", "['rich']"), "structlog asks for rich by itself"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (IposError("it is broken: mend it"), "ipos: it is broken: mend it\n"),
        (OSError(28, "No space left on device"), "ipos: No space left on device\n"),
        (OSError(2, "No such file", "/a"), "ipos: /a: No such file\n"),
        (PermissionError(13, "Denied", "/a"), "ipos: /a: Denied: run it as root\n"),
    ],
)
def test_what_the_machine_refuses_is_a_sentence_too(
    fault: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: list[str]) -> bool:
        raise fault

    monkeypatch.setattr(entry, "_begins_at_once", fail)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 1
    assert capsys.readouterr() == ("", said)


def test_the_script_begins_here() -> None:
    text = Path(sys.executable).with_name("ipos").read_text()
    assert "from ipos.cli.entry import main" in text
