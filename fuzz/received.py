# SPDX-License-Identifier: Apache-2.0
"""What the sockets of a connection received, beside what was decided for it: the judge."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from fuzz import schedules
from spec.requests import url
from tests.farm.clients.recording import requests_in
from tests.support.farm import SERVERS

_OTHERS = {
    server: [schedules.host_of(other) for other in SERVERS if other != server] for server in SERVERS
}

Said = tuple[bytes, bytes]
"""Host and path of a request."""


class Received(NamedTuple):
    """What one socket received."""

    data: bytes
    broken: str


@dataclass(slots=True)
class Seen:
    """Of one connection, by server: what its sockets received, and what was decided for it."""

    received: dict[str, list[Received]] = field(default_factory=lambda: defaultdict(list))
    decided: dict[str, list[Said]] = field(default_factory=lambda: defaultdict(list))
    known: bool = True
    """Whether all that was decided has been told."""
    sent: bytes = b""
    """By an honest client."""


def judged(seen: Seen) -> str:
    """What a server received that was not approved for it; empty if nothing."""
    for server, sockets in seen.received.items():
        read: list[Said] = []
        for one in sockets:
            if one.broken:
                return f"{server} received what is no request: {one.broken}, in {one.data!r}"
            read += [
                (asked.host, url.normalise(asked.path).text) for asked in requests_in(one.data)
            ]
            other = _begun(one.data, server)
            if other:
                return f"{server} received {other!r}, in {one.data!r}"
        strangers = [said for said in read if said[0] in _OTHERS[server]]
        if strangers:
            return f"{server} received {strangers}, in {sockets!r}"
        decided = iter(seen.decided[server])
        for said in read if seen.known else ():
            if said not in decided:
                return (
                    f"{server} received {read}, and approved were {seen.decided[server]}; "
                    f"{[one.data for one in sockets]}"
                )
    return ""


def _begun(data: bytes, server: str) -> bytes:
    """The head at the end of a stream, if it names another server and its rest has not come."""
    whole = requests_in(data)
    rest = data[whole[-1].end :] if whole else data
    if b"\r\n\r\n" in rest:
        return b""  # its body is not all here: counted below
    named = re.search(rb"(?i)\r\nhost: (s\d\.example)\r\n", rest)
    return rest if named and named[1].lower() != schedules.host_of(server) else b""


def whole(text: bytes, seen: Seen) -> str:
    """What is wrong with how an honest client's stream was read; empty if nothing."""
    sent: dict[str, bytes] = defaultdict(bytes)
    at = 0
    for asked in requests_in(text):
        sent[asked.host.decode().partition(".")[0]] += text[at : asked.end]
        at = asked.end
    for server in SERVERS:
        read = b"".join(one.data for one in seen.received[server])
        if read != sent[server]:
            return f"{server} received {len(read)} bytes of {len(sent[server])}: {read!r}"
    return ""
