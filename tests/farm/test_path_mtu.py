# SPDX-License-Identifier: Apache-2.0
"""A narrow link towards the client: whoever owns the connection must hear of it (RFC 1191)."""

from collections.abc import Iterator

import pytest

from ipos.lab import pattern
from tests.support.farm import ELSEWHERE, HERE, SERVERS, Farm, read_answer, request

pytestmark = pytest.mark.farm

LENGTH = 200_000


@pytest.fixture
def narrow(farm: Farm) -> Iterator[Farm]:
    """The router's way to the clients takes 1,400 bytes; what servers learn of it is forgotten."""
    farm.run("router1", "ip", "link", "set", "clients", "mtu", "1400")
    try:
        yield farm
    finally:
        farm.run("router1", "ip", "link", "set", "clients", "mtu", "1500")
        for server in SERVERS:
            farm.run(server, "ip", "route", "flush", "cache")


@pytest.mark.parametrize(("port", "owner"), [(HERE, "s1"), (ELSEWHERE, "s2")])
def test_the_owner_hears_of_a_narrow_link(narrow: Farm, port: int, owner: str) -> None:
    before = narrow.counters("s1")["icmp_forwarded"]
    with narrow.connect(port) as connection:
        connection.sendall(request(f"/bytes/{LENGTH}"))
        answer = read_answer(connection)  # who does not hear of it sends the same for ever
    assert answer.served_by == owner
    assert answer.body == b"".join(pattern.chunks(LENGTH))
    sent_on = narrow.counters("s1")["icmp_forwarded"] - before
    assert (sent_on > 0) == (owner != "s1")
