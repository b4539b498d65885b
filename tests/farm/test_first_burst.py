# SPDX-License-Identifier: Apache-2.0
"""A client's first burst, behind a stateful firewall: several segments in one batch.

Netfilter sees a batch before TCP sees its first packet. Of a connection that connection tracking
does not know yet it lets one packet in, and drops the others without a word (`insert_failed`): the
client waits for its retransmission time-out.
"""

import socket
from pathlib import Path

import pytest

from ipos.lab import Lab, namespaces
from tests.support.farm import ELSEWHERE, HERE, Farm, read_answer

pytestmark = pytest.mark.farm

_STATISTICS = Path("/proc/thread-self/net/stat/nf_conntrack")
_TIMES = 20


def _insert_failed(lab: Lab) -> int:
    """Of all servers and CPUs: packets that connection tracking has dropped as a second first."""
    total = 0
    for server in ("s1", "s2", "s3"):
        with namespaces.entered(lab.place(server).namespace):
            names, *rows = _STATISTICS.read_text().splitlines()
        column = names.split().index("insert_failed")
        total += sum(int(row.split()[column], 16) for row in rows)
    return total


@pytest.mark.parametrize("port", [HERE, ELSEWHERE])
@pytest.mark.parametrize("size", [2000, 20_000])
@pytest.mark.parametrize("long_head", [False, True])
def test_the_firewall_lets_all_of_it_in(farm: Farm, port: int, size: int, long_head: bool) -> None:
    before = _insert_failed(farm.lab)
    dropped = [counts["drop_out_of_order"] for counts in farm.all_counters().values()]
    lines = ["POST /nowhere HTTP/1.1", "Host: farm.example", f"Content-Length: {size}"]
    if long_head:
        lines.append("X-Long: " + "l" * 4000)
    data = ("\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n").encode() + bytes(size)
    for _ in range(_TIMES):
        with farm.connect(port) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(data)
            read_answer(connection)
    assert _insert_failed(farm.lab) == before
    assert [counts["drop_out_of_order"] for counts in farm.all_counters().values()] == dropped
