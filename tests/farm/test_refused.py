# SPDX-License-Identifier: Apache-2.0
"""Requests that the farm answers itself, as a real client sees them."""

import pytest

from ipos.lab import faults
from ipos.wire import responses
from tests.support.farm import ANY, ELSEWHERE, Farm, grown, wait_until
from tests.support.usertcp import Segment, UserTcp

pytestmark = pytest.mark.farm

_NO_HOST = responses.refused("HTTP/1.1 without Host")


def _curl(farm: Farm, port: int, *options: str) -> str:
    url = f"http://{farm.address('s1')}:{port}/"
    return farm.run("client1", "curl", "-sS", "-m", "30", "-w", "%{http_code}", *options, url)


@pytest.mark.parametrize("port", [ANY, ELSEWHERE])
def test_curl_sees_a_refusal_as_an_answer(farm: Farm, port: int) -> None:
    before = farm.counters("s1")
    body = _NO_HOST.partition(b"\r\n\r\n")[2].decode()
    assert _curl(farm, port, "-H", "Host:") == f"{body}400"
    assert _curl(farm, port, "-H", "X: " + "y" * 20_000).endswith("431")
    wait_until("both are gone", lambda: farm.rows("s1")["holding"] == 0)
    changed = grown(before, farm.counters("s1"))
    assert (changed["ambiguous_host_missing"], changed["drop_head_too_long"]) == (1, 1)
    assert "rst_sent" not in changed


def test_curl_sees_refusals_through_a_lossy_wire(farm: Farm) -> None:
    faults.set_loss(farm.lab, 5, [("client1", "front"), ("s1", "front")])
    try:
        for _ in range(20):
            assert _curl(farm, ANY, "-H", "Host:").endswith("400")
    finally:
        faults.set_loss(farm.lab, 0)
    wait_until("none is left", lambda: farm.rows("s1")["holding"] == 0, 20)


def _refusal(client: UserTcp, head: bytes) -> Segment:
    client.send_at(0, head)
    heard = client.segment()
    assert heard is not None, "no answer"
    assert (heard.payload, heard.flags) == (_NO_HOST, "FPA")
    assert heard.ack == (client.isn + 1 + len(head)) % 2**32
    return heard


def test_a_refusal_is_sent_again_until_it_is_heard(farm: Farm) -> None:
    with UserTcp(farm, ANY) as client:
        client.connect()
        head = b"GET / HTTP/1.1\r\n\r\n"
        first = _refusal(client, head)
        assert _refusal(client, head).seq == first.seq
        client.take(first)
        client.send("FA", client.next_seq)
        last = client.segment()
        assert last is not None
        assert (last.flags, last.ack) == ("A", (client.next_seq + 1) % 2**32)
    assert farm.rows("s1")["holding"] == 0
