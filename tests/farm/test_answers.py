# SPDX-License-Identifier: Apache-2.0
"""Connect to any server, the best one replies: who answers, and what it sees."""

from collections import Counter
from contextlib import ExitStack

import pytest

from tests.support.farm import (
    ANY,
    CLIENT,
    ELSEWHERE,
    MAPPED,
    SERVERS,
    SPEAK_FIRST,
    SPEAK_FIRST_ELSEWHERE,
    THIRD,
    Farm,
    read_answer,
    request,
)

pytestmark = pytest.mark.farm


def _access_log(farm: Farm, server: str, token: str) -> list[list[str]]:
    log = farm.lab.place(server).run_dir / "nginx" / "access.log"
    return [line.split() for line in log.read_text().splitlines() if token in line]


def test_1000_requests_to_one_server_are_answered_by_all(farm: Farm) -> None:
    address = farm.address("s1")
    seen = "%{http_code} %{remote_ip} %{remote_port} %header{x-served-by} %header{x-client}\\n"
    output = farm.run(
        "client1",
        *("curl", "-sS", "-o", "/dev/null", "-H", "Connection: close", "-w", seen),
        f"http://{address}/?spread=[1-1000]",
    )
    rows = [tuple(line.split()) for line in output.splitlines()]
    assert len(rows) == 1000
    assert {(row[0], *row[1:3], row[4]) for row in rows} == {("200", address, "80", CLIENT)}
    answered = Counter(row[3] for row in rows)
    assert set(answered) == set(SERVERS)
    for server in SERVERS:
        # Nothing is proxied: each application knows its own requests and no others.
        lines = _access_log(farm, server, "/?spread=")
        assert len(lines) == answered[server]
        assert {line[1].partition(":")[0] for line in lines} == {CLIENT}
        assert {line[2] for line in lines} == {f"{address}:80"}


@pytest.mark.parametrize("server", SERVERS)
def test_every_server_is_a_front_door(farm: Farm, server: str) -> None:
    with ExitStack() as open_ones:
        answers = []
        # All stay open: while a server has fewer connections than the others, it is chosen.
        for _ in range(60):
            connection = open_ones.enter_context(farm.connect(server=server))
            connection.sendall(request(close=False))
            answers.append(read_answer(connection))
    assert {answer.status for answer in answers} == {200}
    assert {answer.headers["x-client"] for answer in answers} == {CLIENT}
    assert {answer.served_by for answer in answers} == set(SERVERS)


@pytest.mark.parametrize("server", SERVERS)
def test_servers_stay_as_strict_as_real_ones(farm: Farm, server: str) -> None:
    """What all of these tests go through: nothing of ours loosens front, or the firewall."""
    keys = ("net.ipv4.conf.all.rp_filter", "net.ipv4.conf.front.rp_filter")
    assert max(map(int, farm.run(server, "sysctl", "-n", *keys).split())) == 1
    rules = farm.run(server, "nft", "list", "chain", "inet", "filter", "input")
    assert "policy drop" in rules
    assert "ct state established,related accept" in rules


@pytest.mark.parametrize(("port", "owner"), [(ELSEWHERE, "s2"), (THIRD, "s3"), (MAPPED, "s2")])
def test_a_pool_of_one_server_answers(farm: Farm, port: int, owner: str) -> None:
    for server in SERVERS:
        answer = farm.get(port=port, server=server)
        assert (answer.served_by, answer.headers["x-client"]) == (owner, CLIENT)


@pytest.mark.parametrize(
    ("port", "owners"), [(SPEAK_FIRST, SERVERS), (SPEAK_FIRST_ELSEWHERE, ("s2",))]
)
def test_a_server_that_speaks_first(farm: Farm, port: int, owners: tuple[str, ...]) -> None:
    greeted = set()
    for turn in range(30):
        with farm.connect(port) as connection, connection.makefile("rwb") as stream:
            code, name, client = stream.readline().decode().split()
            assert (code, client) == ("220", CLIENT)
            stream.write(b"line %d\r\n" % turn)
            stream.flush()
            assert stream.readline() == b"line %d\r\n" % turn
            greeted.add(name)
    assert greeted == set(owners)


def test_many_requests_on_one_connection(farm: Farm) -> None:
    with farm.connect(ELSEWHERE) as connection:
        for turn in range(200):
            connection.sendall(request(f"/?turn={turn}", close=False))
            assert read_answer(connection).served_by == "s2"


def test_a_request_and_its_answer_end_with_empty_tables(farm: Farm) -> None:
    for port in (ANY, ELSEWHERE, THIRD, SPEAK_FIRST):
        if port == SPEAK_FIRST:
            with farm.connect(port) as connection:
                connection.recv(100)
        else:
            farm.get(port=port)
    farm.wait_idle()
