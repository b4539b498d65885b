# SPDX-License-Identifier: Apache-2.0
"""Networks that a file keeps out: dropped and counted, until a changed file lets them in again."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.farm import CLIENT, ELSEWHERE, Farm, read_answer, readable, request, wait_until

pytestmark = pytest.mark.farm

NETWORK = "10.99.0.8/29"
"""The client is in it, its router is not."""


@contextmanager
def _denied(farm: Farm) -> Iterator[None]:
    """NETWORK is in s1's file; afterwards the file is as it was."""
    file = farm.lab.place("s1").config_file
    before = file.read_text()
    file.write_text(before.replace("[farm]\n", f'[farm]\ndeny = ["{NETWORK}"]\n'))
    assert file.read_text() != before
    try:
        farm.run("s1", "ipos", "reload")
        yield
    finally:
        file.write_text(before)
        farm.run("s1", "ipos", "reload")


def test_a_denied_network_is_dropped_until_it_is_let_in_again(farm: Farm) -> None:
    with farm.connect(ELSEWHERE) as open_, farm.unconnected() as fresh:
        open_.sendall(request(close=False))
        assert read_answer(open_).served_by == "s2"
        with _denied(farm):
            said = farm.run("s1", "ipos", "explain", f"http://{farm.address('s1')}/",
                            "--client", CLIENT)  # fmt: skip
            assert f"{CLIENT} is denied" in said
            before = farm.counters("s1")["drop_denied"]
            fresh.setblocking(False)
            assert fresh.connect_ex((farm.address("s1"), ELSEWHERE)) != 0
            open_.sendall(request(close=False))
            wait_until("both are dropped", lambda: farm.counters("s1")["drop_denied"] >= before + 2)
            assert not readable(open_, 0)
            assert farm.get(server="s2").status == 200, "the others have files of their own"
        fresh.settimeout(10)
        assert read_answer(open_).served_by == "s2"
        wait_until("let in", lambda: fresh.connect_ex((farm.address("s1"), ELSEWHERE)) in (0, 106))
