# SPDX-License-Identifier: Apache-2.0
"""Sessions by name: whom a host names, and when its client is sent on."""

import pytest

from ipos.selection.naming import named
from ipos.selection.policies import ServerState
from ipos.wire import responses
from tests.support.golden import rows_redirect

NAMES = {"s1.example": 1, "s2.example": 2, "s3.example": 3}
STATES = dict.fromkeys((1, 2, 3), ServerState.READY)


@pytest.mark.parametrize("state", list(ServerState))
def test_a_server_keeps_its_name_while_it_serves(state: ServerState) -> None:
    found = named("s2.example", NAMES, {**STATES, 2: state}, (1, 2), NAMES.values())
    kept = state in (ServerState.READY, ServerState.DRAIN)
    assert (found.server, found.redirect) == ((2, False) if kept else (None, True))


@pytest.mark.parametrize(
    ("host", "pool", "refused", "redirect", "why"),
    [
        ("www.example", (1, 2), (), True, "www.example is no server's own name"),
        ("", (1, 2), (), True, "an empty host is no server's own name"),
        ("www.example", (1, 2), (1,), False, "www.example is no server's own name"),
        ("s3.example", (1, 2), (), False, "its route keeps it from the server called s3.example"),
        ("s2.example", (1, 2), (2,), False, "the server called s2.example has refused it"),
    ],
)
def test_who_is_sent_on(
    host: str, pool: tuple[int, ...], refused: tuple[int, ...], redirect: bool, why: str
) -> None:
    found = named(host, NAMES, STATES, pool, NAMES.values(), refused)
    assert (found.server, found.redirect) == (None, redirect)
    assert found.reason == f"the policy: {why}"


def test_a_server_without_its_application_has_lost_its_sessions() -> None:
    found = named("s3.example", NAMES, STATES, (1, 2), (1, 2))
    assert (found.server, found.redirect) == (None, True)
    assert found.reason == "the policy: the server called s3.example has no application for it"


def test_an_upgrade_is_not_sent_on_but_has_a_name() -> None:
    assert not named("www.example", NAMES, STATES, (1,), (1,), follows=False).redirect
    assert named("s1.example", NAMES, STATES, (1,), (1,), follows=False).server == 1


@pytest.mark.parametrize("target", ["/", rows_redirect.ODD, "/" + "a" * 800])
def test_the_bytes_of_a_redirect(target: str) -> None:
    head = rows_redirect.head(target)
    assert responses.redirect("http://s2.example", head) == rows_redirect.response(target)
    told = responses.redirect("http://s2.example:8080", b"\r\n" + head)
    assert told is not None
    assert b"Location: http://s2.example:8080/" in told


def test_what_no_redirect_carries() -> None:
    room = responses.REDIRECT_MAX - len(rows_redirect.response("/"))
    for size, fits in ((room, True), (room + 1, False)):
        head = rows_redirect.head("/" + "a" * size)
        assert (responses.redirect("http://s2.example", head) is not None) is fits
    for target in ("http://www.example/", "*"):
        assert responses.redirect("http://s2.example", rows_redirect.head(target)) is None
