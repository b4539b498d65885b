# SPDX-License-Identifier: Apache-2.0
"""The one frame nobody repeats: the owner's word that a connection has ended."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ipos.lab.nftables import load
from ipos.lab.places import Place
from ipos.lab.plan import SWITCH
from tests.farm.sweeper import sweeper_of, traffic
from tests.support.farm import ELSEWHERE, Farm, wait_until

pytestmark = pytest.mark.farm

_TABLE = "lost_notice"
_RULES = f"""\
table bridge {_TABLE} {{
    chain from_owner {{
        type filter hook prerouting priority -300
        iifname "s2-back" ether type 0x0007 @nh,96,8 4 counter drop
    }}
}}
"""


@contextmanager
def _losing_closed(farm: Farm) -> Iterator[None]:
    """Frames of type 4 from s2 are lost on the back LAN."""
    switch = Place(farm.lab.name, SWITCH)
    load(switch, _RULES)
    try:
        yield
    finally:
        load(switch, f"delete table bridge {_TABLE}\n")


def test_the_owner_is_asked_soon_when_its_client_has_closed(farm: Farm) -> None:
    """An hour before the connection would count as idle."""
    before = traffic(farm, "s1", "s2")
    with _losing_closed(farm):
        assert farm.get(port=ELSEWHERE).served_by == "s2"
        wait_until("the owner is done", lambda: farm.rows("s2", ["connect"]) == {"connect": 0})
    assert farm.rows("s1", ["forward"]) == {"forward": 1}, "nobody told the first server"
    with sweeper_of(farm, "s1") as first:
        first.until(
            "its row is gone",
            lambda: not first.answers() and not farm.rows("s1", ["forward"])["forward"],
        )
    assert traffic(farm, "s1", "s2") == before


def test_an_idle_connection_is_not_asked_about(farm: Farm) -> None:
    with farm.connect(ELSEWHERE) as connection, sweeper_of(farm, "s1") as first:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: farm.example\r\n\r\n")
        assert connection.recv(1)
        first.sweep()
        assert first.answers() == 0
