# SPDX-License-Identifier: Apache-2.0
"""Links that lose: every request is answered and every connection greeted, only later."""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ipos.lab import Lab, Settings, faults, namespaces
from tests.support.farm import (
    CLIENT,
    CONFIG,
    SERVERS,
    SPEAK_FIRST,
    Farm,
    read_answer,
    request,
    wait_until,
)

pytestmark = pytest.mark.farm

PERCENT = 5
PATIENCE_S = 900
"""Nobody but the server's kernel tries again when the end of a handshake is lost, and ever later:
four in ten tries fail, so that one connection in ten thousand needs more than five minutes."""
_THREADS = 64


def _be_patient(lab: Lab) -> None:
    """Make every host try longer than Linux does, and not ever more seldom.

    Four links each way lose a third of all first tries. Of ten thousand connections some would
    meet the kernels' usual end by chance: no SYN, SYN-ACK or ARP question in a handful got through.
    """
    wanted = {
        "tcp_syn_linear_timeouts": 60,
        "tcp_syn_retries": 60,
        "tcp_synack_retries": 60,
        "tcp_rto_max_ms": 2000,  # Linux 6.15
    }
    for node in lab.nodes.values():
        values = {f"neigh/{interface.name}/mcast_solicit": 60 for interface in node.interfaces}
        with namespaces.entered(lab.place(node.name).namespace):
            for name, value in (wanted | values).items():
                path = Path("/proc/sys/net/ipv4", name)
                if path.exists():
                    path.write_text(f"{value}\n")


@pytest.fixture(scope="module")
def lossy() -> Iterator[Farm]:
    """A farm of its own: what was lost at the end of a connection is cleared up much later."""
    with Lab(Settings(name=f"ft{os.getpid()}-l", config=CONFIG)) as lab:
        farm = Farm(lab)
        _be_patient(lab)
        wait_until("every server ready", farm.ready)
        faults.set_loss(lab, PERCENT)
        yield farm


def _request(farm: Farm, number: int) -> str:
    client = farm.unconnected()
    client.settimeout(PATIENCE_S)
    with farm.connect(80, SERVERS[number % 3], client) as connection:
        connection.sendall(request(f"/?loss={number}"))
        answer = read_answer(connection)
        assert answer.headers["x-client"] == CLIENT
        assert answer.body == f"{answer.served_by}\n".encode()
        return answer.served_by


def _greeting(farm: Farm, number: int) -> str:
    client = farm.unconnected()
    client.settimeout(PATIENCE_S)
    with (
        farm.connect(SPEAK_FIRST, SERVERS[number % 3], client) as connection,
        connection.makefile("rwb") as stream,
    ):
        code, name, address = stream.readline().decode().split()
        assert (code, address) == ("220", CLIENT)
        stream.write(b"%d\r\n" % number)
        stream.flush()
        assert stream.readline() == b"%d\r\n" % number
        return name


def _all(lossy: Farm, requests: int, greetings: int) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        futures = [pool.submit(_request, lossy, number) for number in range(requests)]
        futures += [pool.submit(_greeting, lossy, number) for number in range(greetings)]
        failures = Counter(repr(one.exception()) for one in futures if one.exception())
        assert not failures, (failures, lossy.all_counters())
        assert {one.result() for one in futures} == set(SERVERS)


def test_requests_and_greetings_complete(lossy: Farm) -> None:
    _all(lossy, 200, 20)


@pytest.mark.slow
def test_10000_requests_and_1000_greetings_complete(lossy: Farm) -> None:
    _all(lossy, 10_000, 1_000)
