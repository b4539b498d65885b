# SPDX-License-Identifier: Apache-2.0
"""The access log with real requests: one line for each, with the rule and the server; and what the
data plane has timed of them."""

import json
import os
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ipos.abi.rows import Timed
from ipos.agent.view.measures import quantile_s
from ipos.lab import Lab, Settings
from tests.support.farm import CLIENT, SERVERS, Farm, read_answer, request, wait_until

pytestmark = pytest.mark.farm

CONFIG = """\
[[service]]
name = "web"
port = 80
decide = "request"
access_log = 1.0

[[service]]
name = "quiet"
port = 8001
application = "0.0.0.0:80"

[[pool]]
name = "images"
servers = { s2 = 1 }

[[route]]
service = "web"
path = "/img/"
pool = "images"

[[route]]
service = "web"
host = "*.example"
path = "/"
servers = ["s1"]
"""
Line = dict[str, Any]
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER by which a close is a reset."""


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Lab(Settings(name=f"route{os.getpid()}-log", config=CONFIG)) as lab:
        made = Farm(lab)
        for place in lab.places():
            text = place.config_file.read_text()
            file = place.run_dir / "access.log"
            place.config_file.write_text(
                text.replace("[server]\n", f'[server]\naccess_log_file = "{file}"\n')
            )
            made.run(place.node, "ipos", "reload")
        yield made


@pytest.fixture
def logs(farm: Farm) -> dict[str, Path]:
    """Each server's log, emptied by renaming it and reloading, as log rotation does."""
    farm.wait_idle()
    found = {}
    for place in farm.lab.places():
        file = place.run_dir / "access.log"
        if file.exists():
            file.rename(file.with_suffix(".old"))
        farm.run(place.node, "ipos", "reload")
        found[place.node] = file
    return found


def lines(logs: dict[str, Path]) -> list[Line]:
    """What all servers have logged, in the order of the decisions."""
    told = [
        json.loads(line)
        for file in logs.values()
        if file.exists()
        for line in file.read_text().splitlines()
    ]
    return sorted(told, key=lambda line: line["time"])


def logged(farm: Farm, logs: dict[str, Path], count: int) -> list[Line]:
    """The lines of `count` requests: all there are before the line of a last one at each server."""
    for first in SERVERS:
        read_answer_of(farm, "/last", first)

    def told() -> list[Line]:
        found = lines(logs)
        last = [line for line in found if line["path"] == "/last"]
        return found if len(last) == len(SERVERS) else []

    found = [line for line in wait_until("the last lines", told) if line["path"] != "/last"]
    assert len(found) == count, found
    return found


def read_answer_of(farm: Farm, path: str, first: str = "s1", port: int = 80) -> str:
    with farm.connect(port, first) as connection:
        connection.sendall(request(path))
        return read_answer(connection).served_by


def test_every_request_has_one_line(farm: Farm, logs: dict[str, Path]) -> None:
    paths = ["/", "/img/a"] * 15
    served = [read_answer_of(farm, path, SERVERS[n % 3]) for n, path in enumerate(paths)]
    told = logged(farm, logs, len(paths))
    assert [line["path"] for line in told] == paths
    assert [line["server"] for line in told] == served
    assert [line["first_server"] for line in told] == [SERVERS[n % 3] for n in range(30)]
    assert {line["event"] for line in told} == {"new"}
    assert {line["rule"] for line in told} == {"*.example/", "*/img/"}
    image = told[1]
    assert image["client"].startswith(f"{CLIENT}:")
    assert (image["service"], image["host"]) == ("web", "farm.example")
    assert (image["route"], image["pool"]) == (1, "images")
    assert image["reason"] == "the policy's choice"


def test_later_requests_have_one_each(farm: Farm, logs: dict[str, Path]) -> None:
    """They stay, move on and come back; two of them in one segment."""
    with farm.connect(80, "s3") as connection:
        for path in ("/1", "/2", "/img/3", "/img/4", "/5"):
            connection.sendall(request(path, close=False))
            read_answer(connection)
        connection.sendall(request("/6", close=False) + request("/img/7", close=False))
        assert [read_answer(connection).served_by for _ in range(2)] == ["s1", "s2"]
    told = logged(farm, logs, 7)
    assert [(line["event"], line["server"], line["path"]) for line in told] == [
        ("new", "s1", "/1"),
        ("stays", "s1", "/2"),
        ("moved", "s2", "/img/3"),
        ("stays", "s2", "/img/4"),
        ("moved", "s1", "/5"),
        ("stays", "s1", "/6"),
        ("moved", "s2", "/img/7"),
    ]
    assert {line["first_server"] for line in told} == {"s3"}


def test_refused_heads_are_in_it(farm: Farm, logs: dict[str, Path]) -> None:
    for head in (b"GET /a HTTP/1.1\r\n\r\n", request("/b", "X: " + "y" * 20_000)):
        with farm.connect(80) as connection:
            connection.sendall(head)
            read_answer(connection)
    told = logged(farm, logs, 2)
    assert [(line["event"], line["server"], line["path"]) for line in told] == [
        ("refused", None, "/a"),
        ("refused", None, "/b"),
    ]
    assert [line["reason"] for line in told] == [
        "refused: HTTP/1.1 without Host",
        "refused: a head that does not end within 14,600 bytes",
    ]


def test_a_head_that_never_ends_is_in_it(farm: Farm, logs: dict[str, Path]) -> None:
    with farm.connect(80, "s2") as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\n")
        assert read_answer(connection).status == 408
        port = connection.getsockname()[1]
    (told,) = logged(farm, logs, 1)
    assert (told["event"], told["client"]) == ("refused", f"{CLIENT}:{port}")
    assert (told["first_server"], told["server"]) == ("s2", None)
    assert told["reason"] == "its head did not end in time"


def test_long_and_odd_ones_are_one_line(farm: Farm, logs: dict[str, Path]) -> None:
    read_answer_of(farm, "/" + "x" * 300)
    read_answer_of(farm, '/"%0A%1b[31m%ff\\')
    long, odd = logged(farm, logs, 2)
    assert (long["path"], long["cut"]) == ("/" + "x" * 127, ["path"])
    assert "cut" not in odd
    assert odd["path"].startswith('/"')


def test_a_service_without_it_has_none(farm: Farm, logs: dict[str, Path]) -> None:
    for first in SERVERS:
        read_answer_of(farm, "/", first, 8001)
    logged(farm, logs, 0)


def test_the_lines_are_counted(farm: Farm, logs: dict[str, Path]) -> None:
    read_answer_of(farm, "/")
    logged(farm, logs, 1)
    api = str(farm.lab.place("s1").run_dir / "api.sock")
    text = farm.run("s1", "curl", "-sS", "--unix-socket", api, "http://ipos/metrics")
    named = [line for line in text.splitlines() if line.startswith("ipos_access_log_lines_total")]
    counts = dict(line.split(" ") for line in named)
    assert float(counts['ipos_access_log_lines_total{outcome="written"}']) > 0
    assert float(counts['ipos_access_log_lines_total{outcome="lost"}']) == 0


# ---- requests, when they are answered ------------------------------------------------------------


@contextmanager
def written_as(farm: Farm, form: str) -> Iterator[None]:
    """All servers' logs in another format, as long as the block lasts."""
    before = {place.node: place.config_file.read_text() for place in farm.lab.places()}
    try:
        for place in farm.lab.places():
            text = before[place.node].replace(
                "[server]\n", f'[server]\naccess_log_format = "{form}"\n'
            )
            place.config_file.write_text(text)
            farm.run(place.node, "ipos", "reload")
        yield
    finally:
        for place in farm.lab.places():
            place.config_file.write_text(before[place.node])
            farm.run(place.node, "ipos", "reload")


def test_each_request_is_told_by_who_serves_it(farm: Farm, logs: dict[str, Path]) -> None:
    """Here, at another server from the first on, after a move, and not at all."""
    with written_as(farm, "json"):
        with farm.connect(80, "s1") as connection:
            for path in ("/bytes/20000", "/img/moved", "/slow/0.1"):
                connection.sendall(request(path, close=False))
                read_answer(connection)
        read_answer_of(farm, "/img/away", "s3")
        with farm.connect(80, "s3") as connection:
            connection.sendall(b"GET /refused HTTP/1.1\r\n\r\n")
            read_answer(connection)
        with farm.connect(80, "s1") as connection:
            connection.sendall(request("/bytes/50000000", close=False))
            connection.recv(100)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        found = wait_until("six lines", lambda: told if len(told := lines(logs)) == 6 else [])
    by_path = {line["path"]: line for line in found}
    where = {path: (line["server"], line["status"]) for path, line in by_path.items()}
    assert where == {
        "/bytes/20000": ("s1", 200), "/img/moved": ("s2", 404), "/slow/0.1": ("s1", 200),
        "/img/away": ("s2", 404), "/refused": (None, 400), "/bytes/50000000": ("s1", 200),
    }  # fmt: skip
    cut = by_path["/bytes/50000000"]
    assert cut["ended_by"] == "client", "of a reset connection, without waiting for a minute"
    assert 0 < cut["first_byte"] <= cut["took"] < 10
    assert cut["method"] == "GET"
    assert 20_000 < by_path["/bytes/20000"]["bytes"] < 21_000
    slow = by_path["/slow/0.1"]
    assert 0.1 <= slow["first_byte"] <= slow["took"] < 10
    assert by_path["/img/away"]["first_server"] == "s3"
    assert by_path["/img/away"]["bytes"] > 0
    assert by_path["/refused"]["bytes"] is None


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ("combined", (r'^10\.99\.0\.11 - - \[[^]]+\] '
                     r'"GET http://farm\.example/a HTTP/1\.1" 404 \d+ "-" "-" \d+$')),
        ("haproxy", (r"^10\.99\.0\.11:\d+ \[[^]]+\] web s1/s1 0/0/0/\d+/\d+ 404 \d+ - - ---- "
                    r'0/0/0/0/0 0/0 "GET http://farm\.example/a HTTP/1\.1"$')),
    ],
)  # fmt: skip
def test_other_programs_formats(farm: Farm, logs: dict[str, Path], form: str, pattern: str) -> None:
    with written_as(farm, form):
        read_answer_of(farm, "/a")
        text = wait_until("a line", lambda: logs["s1"].exists() and logs["s1"].read_text())
    assert re.match(pattern, text)


# ---- times -----------------------------------------------------------------------------------


def test_histograms_agree_with_what_a_client_measures(farm: Farm) -> None:
    """wrk's percentiles of a slow answer, and the bucket of each, which may be the next one."""
    tallies, service = farm.tables["s1"].tallies, 0
    before = tallies.histogram(service, Timed.REQUEST)
    said = farm.run(
        "client1", "wrk", "-t1", "-c8", "-d2", "--latency", "-H", "Host: farm.example",
        f"http://{farm.address('s1')}/slow/0.05",
    )  # fmt: skip
    after = tallies.histogram(service, Timed.REQUEST)
    units = {"us": 1e-6, "ms": 1e-3, "s": 1}
    measured = {
        float(part) / 100: float(value) * units[unit]
        for part, value, unit in re.findall(r"^ +(\d+)% +([\d.]+)(us|ms|s)$", said, re.MULTILINE)
    }
    assert set(measured) == {0.5, 0.75, 0.9, 0.99}
    for part, client_s in measured.items():
        bound_s = quantile_s(after, part, before)
        assert bound_s / 4 < client_s < bound_s * 2, (part, client_s, bound_s)
    (requests,) = re.findall(r"(\d+) requests in", said)
    counted = sum(after.buckets) - sum(before.buckets)
    assert int(requests) <= counted <= int(requests) + 8, "some are on their way at its end"
    took_s = (after.sum_ns - before.sum_ns) / 1e9
    assert 0.05 <= took_s / counted < 1
