# SPDX-License-Identifier: Apache-2.0
"""`ipos bugreport`: one file, with what helps, and nothing that is a secret."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

SECRET = "a secret of the farm that no report may have in it"
CONFIG = """\
[farm]
name = "shop"
secret_file = "{key}"
members = ["10.77.0.1"]
[server]
name = "s1"
front = "lo"
back = "lo"
addresses = ["203.0.113.1"]
"""


def report(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ipos", "bugreport", *arguments],
        capture_output=True, text=True, check=False, cwd=directory,
    )  # fmt: skip


def test_it_has_what_helps_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, file = tmp_path / "farm.key", tmp_path / "ipos.toml"
    key.write_text(f"{SECRET}\n")
    key.chmod(0o600)
    file.write_text(CONFIG.format(key=key))
    monkeypatch.setenv("IPOS_CONFIG", str(file))
    monkeypatch.setenv("IPOS_RUN_DIR", str(tmp_path))
    monkeypatch.setenv("IPOS_PIN_DIR", "/sys/fs/bpf/no-such")
    made = tmp_path / "made.tar.gz"
    done = report("-w", str(made), directory=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"written: {made}\n"), done.stderr
    assert made.stat().st_mode & 0o777 == 0o600
    with tarfile.open(made) as archive:
        texts = {
            member.name.partition("/")[2]: archive.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in archive.getmembers()
        }
    assert {
        "status.txt",
        "doctor.txt",
        "counters.txt",
        "ipos.toml",
        "addresses.txt",
    } <= texts.keys()
    assert 'name = "shop"' in texts["ipos.toml"]
    assert "[exit status 0]" in texts["config-check.txt"]
    assert "no data plane is loaded here" in texts["status.txt"]
    assert not any(SECRET in text for text in texts.values())
    assert not {"table-cookie.txt", "table-local.txt", "table-forward.txt"} & texts.keys()


def test_it_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    done = report("-w", "there", directory=tmp_path)
    assert (done.returncode, "cannot make there: File exists" in done.stderr) == (1, True)
    assert (tmp_path / "there").read_text() == "mine"
