# SPDX-License-Identifier: Apache-2.0
"""Two commands begin without the command line's library; what they do not understand is its."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ipos.cli import entry, text_table
from ipos.cli import main as main_module
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


COMMANDS = [["--help"], ["config", "check", "/nowhere"], ["table", "--help"]]


@pytest.mark.parametrize("arguments", COMMANDS)
@pytest.mark.parametrize("how", [">&-", "2>&-", ">&- 2>&- <&-", "> /dev/full", "| head -c 0"])
def test_a_stream_that_is_closed_or_full_prints_no_traceback(
    arguments: list[str], how: str
) -> None:
    command = " ".join((sys.executable, "-m", "ipos", *arguments, how))
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if how == "> /dev/full" and arguments != COMMANDS[1]:
        assert (done.returncode, done.stderr) == (1, "ipos: No space left on device\n")


def test_an_interrupt_at_any_moment_prints_no_traceback_of_ours() -> None:
    """What comes before our first line is Python's own start."""
    for milliseconds in range(0, 200, 10):
        with subprocess.Popen(
            [sys.executable, "-m", "ipos", "table", "--help"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            time.sleep(milliseconds / 1000)
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=60)
        assert not re.search(r'ipos/cli/(?!entry\.py", line 1\d,)', said), said


def test_an_interrupt_while_a_class_is_made_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python turns it into a RuntimeError there, and libraries make classes when they are used."""

    class Interrupted:
        def __set_name__(self, owner: type, name: str) -> None:
            raise KeyboardInterrupt

    def root() -> None:
        type("Made", (), {"one": Interrupted()})

    monkeypatch.setattr(main_module, "root", root)
    monkeypatch.setattr(sys, "argv", ["ipos", "status"])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 128 + signal.SIGINT


def test_a_fault_of_ours_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def root() -> None:
        raise ValueError("ours")

    monkeypatch.setattr(main_module, "root", root)
    monkeypatch.setattr(sys, "argv", ["ipos", "status"])
    with pytest.raises(ValueError, match="ours"):
        entry.main()


def test_what_is_not_for_a_terminal_is_not_sent_there() -> None:
    assert text_table.shown("\x1b]0;x\x07") == "\\x1b]0;x\\x07"
    assert text_table.shown(["a\nb", "caf\u00e9"]) == "a\\nb,caf\u00e9"
    assert text_table.shown("\udcaa") == "\\udcaa"
