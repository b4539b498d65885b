# SPDX-License-Identifier: Apache-2.0
"""Lines in the formats of other programs, and where they go."""

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from ipos.agent.access import targets
from ipos.agent.access.access_log import AccessLog
from ipos.agent.access.formats import FORMATS, as_combined, as_haproxy

TOLD: dict[str, Any] = {
    "time": 1_700_000_000.25, "event": "stays", "client": "198.51.100.7:40001",
    "service_address": "203.0.113.1:80", "service": "web", "method": "GET",
    "version": "1.1", "host": "www.example.org",
    "path": "/img/a.png", "pool": "images", "server": "s2", "reason": "the policy's choice",
    "status": 200, "bytes": 5120, "first_byte": 0.0124, "took": 0.081,
}  # fmt: skip
HAPROXY = re.compile(  # as its manual describes a line, and log readers parse one
    r"^(?:\d+\.){3}\d+:\d+ \[\d\d/\w{3}/\d{4}(?::\d\d){3}\.\d{3}\] \S+ \S+/\S+ "
    r"(?:-?\d+/){4}\+?-?\d+ -?\d+ \+?\d+ \S+ \S+ [-A-Za-z]{4} (?:\d+/){4}\+?\d+ \d+/\d+ "
    r'"(?:<BADREQ>|\w+ (?:\w+://[^/" ]+)?[^" ]+ HTTP/\d\.\d)"$'
)
COMBINED = re.compile(  # as goaccess and others read it
    r'^(\S+) (\S+) (\S+) \[([^]]+)\] "([^"\\]*(?:\\.[^"\\]*)*)" (\S+) (\S+) '
    r'"([^"]*)" "([^"]*)" (\S+)$'
)


def test_combined() -> None:
    assert as_combined(TOLD).decode() == (
        "198.51.100.7 - - [14/Nov/2023:22:13:20 +0000] "
        '"GET http://www.example.org/img/a.png HTTP/1.1" 200 5120 "-" "-" 81000\n'
    )
    unknown = {**TOLD, "host": None, "path": None, "status": None, "bytes": None, "took": None}
    assert '"-" - - "-" "-" -\n' in as_combined(unknown).decode()


def test_haproxy() -> None:
    assert as_haproxy(TOLD).decode() == (
        "198.51.100.7:40001 [14/Nov/2023:22:13:20.250] web images/s2 0/0/0/12/81 200 5120 - - ---- "
        '0/0/0/0/0 0/0 "GET http://www.example.org/img/a.png HTTP/1.1"\n'
    )
    refused = {**TOLD, "server": None, "pool": None, "status": 503, "bytes": None,
               "first_byte": None, "took": None}  # fmt: skip
    assert " web web/<NOSRV> 0/0/-1/-1/-1 503 0 - - SC-- " in as_haproxy(refused).decode()
    assert " PR-- " in as_haproxy({**refused, "status": 400}).decode()
    unread = {**refused, "status": 400, "host": None, "path": None}
    for told in (TOLD, refused, unread, {**TOLD, "path": "/a b"}, {**TOLD, "host": None}):
        assert HAPROXY.match(as_haproxy(told).decode().rstrip()), told


@pytest.mark.parametrize(
    ("by", "first_byte", "state"),
    [("client", 0.0124, "CD--"), ("client", None, "CH--"), ("server", None, "SH--")],
)
def test_haproxy_says_who_has_ended_it(by: str, first_byte: float | None, state: str) -> None:
    told = {**TOLD, "ended_by": by, "first_byte": first_byte, "status": None}
    line = as_haproxy(told).decode()
    assert f" {state} " in line
    assert HAPROXY.match(line.rstrip())


def test_another_method_and_http_2_are_told_as_far_as_they_are_known() -> None:
    told = {**TOLD, "method": None, "version": "2.0"}
    assert '"- http://www.example.org/img/a.png HTTP/2.0"' in as_combined(told).decode()


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_no_byte_of_a_client_ends_a_line_or_a_quote(form: Any) -> None:
    odd = {**TOLD, "path": '/"\n\r\x00\x1b[31m\u2028\x85\\" 200', "host": 'a"b'}
    written = FORMATS[form](odd)
    assert (written.count(b"\n"), written[-1:]) == (1, b"\n")
    assert all(0x20 <= byte < 0x7F for byte in written[:-1])
    if form == "combined":
        fields = COMBINED.match(written.decode().rstrip())
        assert fields
        assert fields[6] == "200"


@pytest.mark.parametrize(
    ("to", "name", "before"),
    [
        ("syslog", "SYSLOG", "<134>ipos-access: "),
        ("journald", "JOURNAL", "PRIORITY=6\nSYSLOG_IDENTIFIER=ipos-access\nMESSAGE="),
    ],
)
def test_a_line_is_a_datagram(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: Any, name: str, before: str
) -> None:
    path = tmp_path / "socket"
    monkeypatch.setattr(targets, name, path)
    log = AccessLog(None, to, "combined")
    log.put([TOLD])  # nobody is there yet
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        while not log.lost:
            log._thread.join(0.01)
        reader.bind(str(path))
        reader.settimeout(10)
        log.put([TOLD, TOLD])
        told = [reader.recv(4096).decode() for _ in range(2)]
    log.close()
    assert told == [before + as_combined(TOLD).decode()] * 2
    assert (log.written, log.lost) == (2, 1)
