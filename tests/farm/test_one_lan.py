# SPDX-License-Identifier: Apache-2.0
"""A farm whose servers have one interface for both LANs."""

import os
from collections.abc import Iterator

import pytest

from ipos.lab import Lab, Settings, pattern
from tests.farm.test_load import CLOSE, wrk
from tests.support.farm import (
    CLIENT,
    CONFIG,
    ELSEWHERE,
    MAPPED,
    SERVERS,
    SPEAK_FIRST,
    Farm,
    read_answer,
    request,
    wait_until,
)

pytestmark = pytest.mark.farm


@pytest.fixture(scope="module")
def one_lan() -> Iterator[Farm]:
    with Lab(Settings(name=f"ft{os.getpid()}-o", config=CONFIG, topology="one-lan")) as lab:
        farm = Farm(lab)
        wait_until("every server ready", farm.ready)
        yield farm


@pytest.mark.parametrize("server", SERVERS)
def test_it_answers(one_lan: Farm, server: str) -> None:
    for port in (ELSEWHERE, MAPPED):
        answer = one_lan.get(port=port, server=server)
        assert (answer.served_by, answer.headers["x-client"]) == ("s2", CLIENT)
    with one_lan.connect(SPEAK_FIRST, server) as connection:
        assert connection.recv(100).split()[2].decode() == CLIENT


@pytest.mark.parametrize("cut", [1, 9, 20, 60])
def test_a_head_in_two_segments(one_lan: Farm, cut: int) -> None:
    head = request("/", "X-Fill: " + "f" * 60)
    with one_lan.connect(ELSEWHERE) as connection:
        connection.sendall(head[:cut])
        connection.sendall(head[cut:])
        assert read_answer(connection).served_by == "s2"


def test_many_bytes(one_lan: Farm) -> None:
    answer = one_lan.get("/bytes/10000000", ELSEWHERE)
    assert answer.body == b"".join(pattern.chunks(10_000_000))


def test_load(one_lan: Farm) -> None:
    assert wrk(one_lan, 2, 16, *CLOSE).errors == []
    assert wrk(one_lan, 1, 16, port=ELSEWHERE).errors == []
    one_lan.wait_idle()
