# SPDX-License-Identifier: Apache-2.0
"""The access log's writer: whole lines, nothing that waits, everything counted."""

import json
import os
import threading
from pathlib import Path

import pytest

from ipos.agent.access import access_log
from ipos.agent.access.access_log import AccessLog
from ipos.agent.access.formats import as_json
from ipos.agent.rows.desired import log_threshold


def test_no_byte_of_a_client_ends_a_line() -> None:
    told = {"host": 'a\nb\r\x00\x1b[31m\u2028"\\', "path": "/\x85"}
    written = as_json(told)
    assert (written.count(b"\n"), written[-1:]) == (1, b"\n")
    assert all(0x20 <= byte < 0x7F for byte in written[:-1])
    assert json.loads(written) == told


def test_lines_are_appended_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    file.write_text("before\n")
    log = AccessLog(file)
    log.put([{"n": 1}, {"n": 2}])
    log.put([{"n": 3}])
    log.close()
    assert file.read_text() == 'before\n{"n": 1}\n{"n": 2}\n{"n": 3}\n'
    assert (log.written, log.lost) == (3, 0)


def test_a_renamed_file_is_followed_by_a_new_one(tmp_path: Path) -> None:
    file, old = tmp_path / "access.log", tmp_path / "old.log"
    os.mkfifo(old)
    log = AccessLog(file)
    log.reopen(old)
    log.put([{"n": 1}])
    with old.open() as reader:
        assert reader.readline() == '{"n": 1}\n'
        log.reopen(file)
        log.put([{"n": 2}])
        log.close()
    assert file.read_text() == '{"n": 2}\n'


def test_stdout_without_a_file(capfd: pytest.CaptureFixture[str]) -> None:
    log = AccessLog(None)
    log.put([{"n": 1}])
    log.close()
    assert capfd.readouterr().out == '{"n": 1}\n'


def test_who_does_not_read_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe that nobody reads is full some day; what comes then is lost, and counted."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    began, ended = threading.Event(), threading.Event()
    through = AccessLog._write

    def write(log: AccessLog, lines: list[bytes]) -> None:
        began.set()
        through(log, lines)
        ended.set()

    monkeypatch.setattr(AccessLog, "_write", write)
    log = AccessLog(fifo)  # opening it waits for a reader
    log.put([{"n": 0}])
    assert began.wait(10)
    for _ in range(access_log._WAITING + 3):
        log.put([{"n": 1}, {"n": 2}])
    assert (log.written, log.lost) == (0, 6)
    log.miss(5)
    assert log.lost == 11
    with fifo.open() as reader:
        log.close()
        assert len(reader.readlines()) == log.written == 1 + 2 * access_log._WAITING
    assert ended.is_set()


def test_a_file_that_cannot_be_written_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = AccessLog(tmp_path / "none" / "access.log")
    log.put([{"n": 1}])
    log.put([{"n": 2}])
    log.close()
    assert (log.written, log.lost) == (0, 2)
    assert capsys.readouterr().out.count("access log not written") == 1


@pytest.mark.parametrize(
    ("share", "threshold"),
    [(0, 0), (1, 0xFFFF_FFFF), (0.25, 0x3FFF_FFFF), (1e-12, 1), (2**-32, 1)],
)
def test_a_share_as_random_numbers(share: float, threshold: int) -> None:
    assert log_threshold(share) == threshold
