# SPDX-License-Identifier: Apache-2.0
"""When it is said that this server's own programs are refused."""

from pathlib import Path

from ipos.agent.view.own_programs import REMEMBERED_NS, OwnPrograms
from ipos.config.schema import Config, Farm, Server
from ipos.kernel.maps import Tables
from tests.agent.made_up_farm import NOW_NS, back, front

SECOND_NS = 1_000_000_000
CONFIG = Config(
    farm=Farm(name="shop", secret_file=Path("key"), members=[back(1)]),
    server=Server(name="s1", front="front", back="back", addresses=[front(1)]),
)


class Counting(Tables):
    """Maps of which only the counter is looked at."""

    refused = 7

    def counter(self, number: int) -> int:
        return self.refused


def test_said_for_a_minute_after_the_last_one() -> None:
    tables = Counting(Path("maps"))
    own = OwnPrograms(tables)
    own.look(CONFIG, NOW_NS)
    assert own.remarks == [], "of an agent before this one"
    tables.refused += 1
    own.look(CONFIG, NOW_NS)
    (said,) = own.remarks
    assert "a program on s1 itself, or in a container on it, was refused a connection" in said
    assert "back addresses" in said
    tables.refused += 1
    own.look(CONFIG, NOW_NS + REMEMBERED_NS - SECOND_NS)
    own.look(CONFIG, NOW_NS + 2 * REMEMBERED_NS - 2 * SECOND_NS)
    assert own.remarks == [said]
    own.look(CONFIG, NOW_NS + 2 * REMEMBERED_NS - SECOND_NS)
    assert own.remarks == []
