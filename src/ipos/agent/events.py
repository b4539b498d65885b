# SPDX-License-Identifier: Apache-2.0
"""Connections as they are decided, seen by the rows that decisions leave in the tables.

The data plane reports no decisions, so its tables are looked through five times a second while
somebody watches. Of a connection that comes and goes between two looks there is only the row that
keeps its cookie from opening another, and that row does not say who served it.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ipos.agent.snapshot import Snapshot
from ipos.inic import rows
from ipos.inic.layout import layout
from ipos.inic.maps import Store
from ipos.inic.rows import Codec

LOOK_S = 0.2
ROWS = 65_536
"""Of a table with more rows only so many are looked at."""
EVENTS = 500
"""Of one look only so many are told, and the rest counted."""

_TUPLE = Codec(rows.Tuple, layout("ipos_tuple"))
_FORWARD = Codec(rows.Forward, layout("ipos_forward"))
_ENDPOINT = Codec(rows.Endpoint, layout("ipos_endpoint"))


@dataclass(frozen=True, slots=True)
class Source:
    """A table that decisions write: what a new row in it means, and where its iss is."""

    table: str
    event: str
    iss: slice


def _iss(struct: str, member: str) -> slice:
    offset = layout(struct).field(member).offset
    return slice(offset, offset + 4)


_STATE = layout("ipos_temporary").field("state").offset
_ENDED_STATES = (rows.TemporaryState.CLOSED, rows.TemporaryState.RESET)
SOURCES = (
    Source("forward", "forwarded", _iss("ipos_forward", "iss")),
    Source("local", "served here", _iss("ipos_endpoint", "hs")),
    Source("connect", "taken over", _iss("ipos_endpoint", "hs")),
)
ENDED = Source("temporary", "ended", _iss("ipos_temporary", "hs"))


class Watcher:
    """What is new in the tables since the last look; what is there at the first is not.

    `maps` are `forward`, `local`, `connect` and `temporary` as bytes.
    """

    def __init__(self, maps: Mapping[str, Store]) -> None:
        self._maps = maps
        self._seen = {source.table: set(self._now(source)) for source in (*SOURCES, ENDED)}

    def look(self, snapshot: Snapshot) -> Iterator[dict[str, Any]]:
        """An event for each new row, as `ipos watch -o json` prints them."""
        told = 0
        known = set().union(*self._seen.values())
        for source in (*SOURCES, ENDED):
            now = self._now(source)
            # Who has ended is news only when nothing was told of it before.
            fresh = now.keys() - (known if source is ENDED else self._seen[source.table])
            self._seen[source.table] = set(now)
            known |= now.keys()
            for key in islice(fresh, max(0, EVENTS - told)):
                yield _event(source, key[0], now[key], snapshot)
            told += len(fresh)
        if told > EVENTS:
            yield {"time": _now_s(), "event": "more", "count": told - EVENTS}

    def _now(self, source: Source) -> dict[tuple[bytes, bytes], bytes]:
        """(key, iss) -> row: a port that is used again is another connection."""
        pairs = islice(self._maps[source.table].items(), ROWS)
        return {
            (key, value[source.iss]): value
            for key, value in pairs
            if source is not ENDED or value[_STATE] in _ENDED_STATES
        }


def _event(source: Source, raw_key: bytes, raw: bytes, snapshot: Snapshot) -> dict[str, Any]:
    key = _TUPLE.decode(raw_key)
    service, first, server = _parties(source, raw, snapshot)
    return {
        "time": _now_s(),
        "event": source.event,
        "client": f"{key.client_ip}:{key.client_port}",
        "service_address": f"{key.service_ip}:{key.service_port}",
        "service": service,
        "first_server": first,
        "server": server,
    }


def _parties(
    source: Source, raw: bytes, snapshot: Snapshot
) -> tuple[str | None, str | None, str | None]:
    """(service, first server, who serves) by name, as far as the row says."""
    if source is ENDED:
        return None, None, None
    names = {server.index: server.server for server in snapshot.servers}
    services = dict(enumerate(snapshot.services))
    if source.table == "forward":
        forward = _FORWARD.decode(raw)
        return services.get(forward.service), snapshot.me, names.get(forward.server)
    endpoint = _ENDPOINT.decode(raw)
    return services.get(endpoint.service), names.get(endpoint.first), snapshot.me


def _now_s() -> float:
    return round(time.time(), 3)
