# SPDX-License-Identifier: Apache-2.0
"""Urgent data: an application reads every byte, those that a client calls urgent too."""

import hashlib
import json
import socket

import pytest

from tests.support.farm import ELSEWHERE, HERE, Farm, read_answer, request

pytestmark = pytest.mark.farm

BODY = b"a body with !urgent bytes!"


@pytest.mark.parametrize("port", [HERE, ELSEWHERE], ids=["here", "elsewhere"])
def test_an_urgent_byte_is_a_byte_of_the_request(farm: Farm, port: int) -> None:
    """In the target of the first request, and in the body of the second."""
    server = "s1" if port == HERE else "s2"
    before = farm.counters(server)["urgent_cleared"], farm.counters("s1")["urgent_cleared"]
    head = request("/path/to/nothing", close=False)
    at = head.index(b"nothing")
    post = request("/echo", f"Content-Length: {len(BODY)}").replace(b"GET", b"POST")
    with farm.connect(port) as connection:
        connection.sendall(head[:at])
        connection.send(head[at : at + 1], socket.MSG_OOB)
        connection.sendall(head[at + 1 :])
        assert read_answer(connection).status == 404
        connection.sendall(post + BODY[:12])
        connection.send(BODY[12:13], socket.MSG_OOB)
        connection.sendall(BODY[13:])
        told = json.loads(read_answer(connection).body)
    assert told == {"length": len(BODY), "sha256": hashlib.sha256(BODY).hexdigest()}
    after = farm.counters(server)["urgent_cleared"], farm.counters("s1")["urgent_cleared"]
    assert after[0] > before[0]
    assert after[1] > before[1]
