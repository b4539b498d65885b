# SPDX-License-Identifier: Apache-2.0
"""`ipos config`: what it says of a right file and of a wrong one, and that it says it again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ipos.config import parse

TEXT = """
[farm]
name = "shop"
secret_file = "key"
members = ["10.77.0.1"]
[server]
name = "s1"
front = "eth0"
back = "eth1"
addresses = ["203.0.113.1"]
[[service]]
name = "web"
port = 80
application = "127.0.0.1:8080"
check = { http = "/health" }
[[pool]]
name = "all"
servers = { s1 = 2 }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("0123456789abcdef" * 4)
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "ipos.toml").write_text(TEXT)
    return tmp_path / "ipos.toml"


def config(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ipos", "config", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_right_file(file: Path) -> None:
    done = config("check", str(file))
    assert (done.returncode, done.stderr) == (0, "")


def test_what_own_programs_do_not_get_is_a_note(file: Path) -> None:
    file.write_text(TEXT + '[[route]]\nservice = "web"\npath = "/api"\nservers = ["s9"]\n')
    done = config("check", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("note: programs on ")
    assert "(*/api)" in done.stdout


def test_every_mistake_is_a_line_on_stderr(file: Path) -> None:
    file.write_text(TEXT.replace("port = 80", "port = 0").replace("eth0", "e/0"))
    done = config("check", str(file))
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 2
    assert ":13: " in done.stderr


def test_show_effective_is_a_config_that_means_the_same(file: Path) -> None:
    shown = config("show", str(file), "--effective").stdout
    assert "header_timeout_ms = 5000" in shown
    assert parse(shown, file) == parse(TEXT, file)


def test_show_json(file: Path) -> None:
    shown = json.loads(config("show", str(file), "-o", "json").stdout)
    assert shown["service"][0]["application"] == "127.0.0.1:8080"


def test_the_usual_file_is_looked_at_where_none_is_named(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPOS_CONFIG", str(file))
    file.write_text(TEXT.replace("port = 80", "port = 0"))
    assert config("check").stderr.startswith(f"ipos: {file}:13: ")
    monkeypatch.delenv("IPOS_CONFIG")
    if not Path("/etc/ipos/ipos.toml").exists():
        assert "/etc/ipos/ipos.toml: there is no such file" in config("check").stderr


def test_no_mistake_is_told_in_pythons_words(file: Path) -> None:
    broken = TEXT.replace("203.0.113.1", "203.0.113").replace('"10.77.0.1"', '"x"')
    file.write_text(broken.replace("/health", "health").replace("80\n", '"80"\n'))
    said = config("check", str(file)).stderr
    assert len(said.splitlines()) >= 4
    for word in ("Value error", "ValueError", "Expected `", "Traceback"):
        assert word not in said
