# SPDX-License-Identifier: Apache-2.0
"""Heads that nginx, HAProxy, the data plane and the oracle all read: who understands what.

Where the data plane takes a head, a server that takes it too must have the same host, the same
path and the same end of head and body, which shows in the request that follows on the connection.
A head that is refused here is refused whatever the servers do.
"""

from __future__ import annotations

import codecs
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from native.library import Node
from spec.requests import http, url
from spec.requests.head_result import Body, Flag, Outcome, Request
from tests.requests.servers import Servers, running
from tests.support import heads

_FILES = sorted((Path(__file__).parent / "corpus").glob("*.txt"))


def _corpus() -> list[tuple[str, bytes]]:
    found = []
    for file in _FILES:
        for block in file.read_text(encoding="ascii").split("\n\n")[1:]:
            about, raw = block.strip("\n").split("\n")
            data = codecs.decode(raw, "unicode_escape").encode("latin-1")
            found.append((f"{file.stem}: {about}", data))
    return found


CORPUS = _corpus()
HTTP = [(about, raw) for about, raw in CORPUS if raw[:1] != b"\x16"]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with tempfile.TemporaryDirectory(prefix="http-") as directory, running(Path(directory)) as both:
        yield both


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node() as made:
        yield heads.prepare(made)


def _core(node: Node, raw: bytes) -> Request:
    size = heads.CHUNK
    return heads.core(node, [raw[at : at + size] for at in range(0, len(raw), size)])


def test_there_are_enough() -> None:
    assert len(HTTP) >= 200
    assert len({raw for _, raw in CORPUS}) == len(CORPUS)


@pytest.mark.parametrize(("about", "raw"), HTTP, ids=[about for about, _ in HTTP])
def test_core_and_oracle_agree(node: Node, about: str, raw: bytes) -> None:
    wanted = heads.oracle(raw)
    assert wanted.outcome is not Outcome.MORE
    assert _core(node, raw) == wanted


@pytest.mark.parametrize("which", ["nginx", "haproxy"])
@pytest.mark.parametrize(("about", "raw"), HTTP, ids=[about for about, _ in HTTP])
def test_a_server_that_takes_it_understands_the_same(
    node: Node, servers: Servers, which: str, about: str, raw: bytes
) -> None:
    ours = _core(node, raw)
    if ours.outcome is not Outcome.DONE:
        return
    end = ours.length + (ours.content_length if ours.body is Body.LENGTH else 0)
    data = raw if ours.body in (Body.CHUNKED, Body.OPAQUE) else raw[:end]
    theirs = servers.ask(which, data, 1.0 if len(data) >= end else 0.2)
    if not theirs.statuses or theirs.statuses[-1 if theirs.statuses[0] == 100 else 0] != 200:
        return  # it has refused, and nobody served it
    if which == "nginx":
        assert theirs.path == ours.path or ours.flags & Flag.PATH_CUT
        assert theirs.path.startswith(ours.path)
        assert theirs.host == ours.host or not ours.host
    else:
        assert url.normalise(theirs.path).text == ours.path if theirs.path else not ours.path[1:]
        assert not theirs.host or _name(theirs.host) == ours.host
    goes_on = not ours.flags & (Flag.CLOSE | Flag.HTTP10) and ours.body is not Body.OPAQUE
    if goes_on and len(data) >= end:
        assert theirs.next, theirs


def _name(host: bytes) -> bytes:
    """A Host as a name: nothing else that HAProxy could take is taken here."""
    found = re.fullmatch(rb"(\[[0-9a-f:.]+\]|[^:]+?)\.?(:\d*)?", host.lower())
    assert found, host
    return found[1]


@pytest.mark.parametrize(("about", "raw"), HTTP, ids=[about for about, _ in HTTP])
def test_every_cut_reads_the_same(node: Node, about: str, raw: bytes) -> None:
    whole = _core(node, raw)
    for cut in range(1, min(len(raw), 400)):
        rest = [raw[at : at + heads.CHUNK] for at in range(cut, len(raw), heads.CHUNK)]
        assert heads.core(node, [raw[:cut], *rest]) == whole, cut


def test_a_refusal_is_final() -> None:
    """More bytes never make a refused head another, and fewer are refused alike or not yet."""
    for about, raw in HTTP:
        last = http.read(raw, heads.COOKIE)
        if last.outcome is not Outcome.REFUSED:
            continue
        for size in range(1, len(raw)):
            earlier = http.read(raw[:size], heads.COOKIE)
            assert earlier.outcome in (Outcome.MORE, Outcome.PREFACE) or earlier == last, (
                about,
                size,
            )
