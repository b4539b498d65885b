# SPDX-License-Identifier: Apache-2.0
"""Whose endpoints are asked about, when, and which of them end."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from ipos.abi.layout import constant
from ipos.abi.rows import ServerState
from ipos.agent.expiry import expiry_rules
from ipos.agent.expiry.expiry_rules import Handshake, Known, Owned
from ipos.agent.expiry.ghosts import AGAIN_NS, Ghosts
from tests.agent.made_up_farm import NOW_NS, back

ATTACHED, PENDING = constant("IPOS_EP_ATTACHED"), constant("IPOS_EP_PENDING")
BY_S2, BY_S3, NOT_YET = (bytes([number]) * expiry_rules.KEY_SIZE for number in (2, 3, 4))


def endpoint(first: int, state: int = ATTACHED, flags: int = 0) -> Owned:
    hs = expiry_rules.HANDSHAKE.write(Handshake(iss=first * 100, irs=7))
    return Owned(1, 1, 0, 0, state, flags, 0, first, hs, bytes(4), 77, bytes(2))


class Here:
    """A server with an endpoint by s2, one by s3, and one by s2 that has no socket yet."""

    def __init__(self, found_again: bool = False) -> None:
        self.rows = {
            BY_S2: endpoint(2),
            BY_S3: endpoint(3, flags=constant("IPOS_EP_LIVE")),
            NOT_YET: endpoint(2, PENDING),
        }
        self.heard: dict[int, int | None] = {}
        self.states = {2: ServerState.READY, 3: ServerState.READY}
        self.asked: list[tuple[int, bytes, int, bool]] = []
        self.destroyed: list[bytes] = []
        self.is_busy = False
        itself = cast(Any, self)
        self.ghosts = Ghosts(
            itself, itself, itself, itself, itself, self.server, lambda: self.heard,
            found_again=found_again,
        )  # fmt: skip

    # the table, the inquiry, the sockets and the ledger, as far as they are used

    def get(self, key: bytes) -> Owned | None:
        return self.rows.get(key)

    def find(self, which: Callable[[bytes], list[int]]) -> Iterator[list[tuple[bytes, Owned]]]:
        rows = list(self.rows.items())
        yield [
            rows[place] for place in which(b"".join(expiry_rules.OWNED.write(r) for _, r in rows))
        ]

    def doubt(self, server: Any, key: bytes, iss: int, *, of_first: bool, live: bool) -> None:
        assert of_first
        self.asked.append((int(server) & 0xFF, key, iss, live))

    def destroy(self, local: Any, remote: Any, cookie: int) -> bool:
        assert cookie == 77
        self.destroyed.append(remote[0])
        return True

    def count(self, name: str) -> None:
        assert name == "GHOSTS_ENDED"

    def server(self, index: int) -> Known | None:
        state = self.states.get(index)
        return None if state is None else Known(back(index).packed, bytes(6), int(state))

    def passes(self, now_ns: int = NOW_NS, told: set[int] | None = None) -> list[int]:
        """Which first servers were asked in one pass."""
        self.asked = []
        list(self.ghosts.steps(told or set(), now_ns))
        return [server for server, *_ in self.asked]


@pytest.fixture
def here() -> Here:
    return Here()


def test_a_first_server_that_begins_or_is_back_is_asked_once(here: Here) -> None:
    here.heard = {2: 1000, 3: 1000}
    assert here.passes() == [2, 3]
    assert here.asked == [(2, BY_S2, 200, False), (3, BY_S3, 300, True)]
    assert here.passes(NOW_NS + AGAIN_NS) == []
    here.heard = {3: 1000}  # s2 is silent
    assert here.passes(NOW_NS + 2 * AGAIN_NS) == []
    here.heard = {2: 1000, 3: 1000}
    assert here.passes(NOW_NS + 3 * AGAIN_NS) == [2]
    here.heard = {2: 1000, 3: 2000}
    assert here.passes(NOW_NS + 4 * AGAIN_NS) == [3]
    assert here.destroyed == []


def test_one_that_has_reset_some_of_ours_is_asked_at_most_once_a_second(here: Here) -> None:
    here.heard = {2: 1000, 3: 1000}
    here.passes()
    assert here.passes(NOW_NS + 1, told={2}) == [], "it has just been asked"
    assert here.passes(NOW_NS + AGAIN_NS) == [2], "and is not forgotten"
    here.is_busy = True
    assert here.passes(NOW_NS + 3 * AGAIN_NS, told={3}) == []
    here.is_busy = False
    assert here.passes(NOW_NS + 3 * AGAIN_NS) == [3]


def test_the_endpoints_of_one_that_says_it_is_down_end_at_once(here: Here) -> None:
    here.heard = {2: 1000, 3: 1000}
    here.passes()
    here.heard = {2: None, 3: 1000}
    assert here.passes(NOW_NS + 1) == []
    assert here.destroyed == [expiry_rules.ENDS.read(BY_S2).client_ip], "not what has no socket"
    here.passes(NOW_NS + 2)
    assert len(here.destroyed) == 1


def test_what_a_first_server_denies_ends_if_it_is_the_same_connection(here: Here) -> None:
    here.ghosts.denied(BY_S2, 201)
    here.ghosts.denied(b"\x09" * expiry_rules.KEY_SIZE, 200)
    here.ghosts.denied(NOT_YET, 200)
    assert here.destroyed == []
    here.ghosts.denied(BY_S2, 200)
    assert len(here.destroyed) == 1


@pytest.mark.parametrize(
    ("state", "ends"),
    [(ServerState.READY, False), (ServerState.MAINT, False), (ServerState.DOWN, True),
     (None, True)],
)  # fmt: skip
def test_a_silent_endpoint(here: Here, state: ServerState | None, ends: bool) -> None:
    if state is None:
        del here.states[2]
    else:
        here.states[2] = state
    here.ghosts.suspect(BY_S2)
    assert bool(here.destroyed) is ends
    assert bool(here.asked) is not ends


def test_connections_that_are_found_again_outlive_their_first_server() -> None:
    here = Here(found_again=True)
    here.heard = {2: 1000, 3: 1000}
    here.passes()
    here.heard = {2: None, 3: 1000}
    here.passes(NOW_NS + 1)
    here.states[2] = ServerState.DOWN
    here.ghosts.suspect(BY_S2)
    assert here.destroyed == []
    assert here.asked == []
    here.ghosts.denied(BY_S2, 200)  # who has ended it says so, as before
    assert len(here.destroyed) == 1


def test_who_had_our_address_meanwhile_is_asked() -> None:
    here = Here(found_again=True)
    here.ghosts.ask_about(BY_S3, here.rows[BY_S3], back(2))
    here.ghosts.ask_about(NOT_YET, here.rows[NOT_YET], back(2))
    assert here.asked == [(2, BY_S3, 300, True)]
