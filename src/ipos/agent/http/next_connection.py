# SPDX-License-Identifier: Apache-2.0
"""The frames of the next connection that comes by here, as a ladder.

They are captured as `ipos capture` does it, so only one of the two runs at a time. What other
servers see of the connection is not in it.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from ipos.agent.view.rules_in_force import server_names
from ipos.agent.view.table_views import View
from ipos.kernel.capture import Frame, capturing
from ipos.ladder.frames import rungs, tell
from ipos.ladder.ladder import draw

SECONDS_MAX = 60
FRAMES_MAX = 300
_QUIET_S = 1.0
_BEGINNINGS = ("SYN", "type 1 connection")
_CLIENT = "client"


def document(view: View, seconds: float, is_over: Callable[[], bool]) -> dict[str, Any]:
    """Wait for a connection and draw it. It takes up to so many seconds: not for the event loop.

    The connection is over when nothing more of it comes for a second. `ladder` is empty when none
    has come, or `is_over` was true before. IposError while another capture runs.
    """
    settings = view.tables.settings.get(0)
    ethertype = settings.ethertype if settings is not None else 0
    with capturing(view.tables.directory.parent) as frames:
        port, seen = _first(frames, ethertype, seconds, is_over)
    known = _hosts(view)
    for frame in seen:
        for mac in (frame.data[0:6], frame.data[6:12]):
            if not mac[0] & 1:
                known.setdefault(mac, _CLIENT)
    steps = rungs(seen, port, known, ethertype)
    there = {step.sender for step in steps} | {step.receiver for step in steps}
    servers = [name for name in dict.fromkeys(known.values()) if name in there - {_CLIENT}]
    drawn = draw(steps, [_CLIENT, *servers]) if steps else ""
    return {"port": port, "frames": len(steps), "ladder": drawn}


def _first(
    frames: Iterable[Frame | None], ethertype: int, seconds: float, is_over: Callable[[], bool]
) -> tuple[int, list[Frame]]:
    """The client's port of the first connection that begins, and its frames."""
    port, seen = 0, list[Frame]()
    end_s = time.monotonic() + seconds
    last_s = end_s
    for frame in frames:
        now_s = time.monotonic()
        told = tell(frame.data, ethertype) if frame is not None else None
        if told is not None and frame is not None:
            if not port and told.label in _BEGINNINGS:
                port = told.port
            if told.port == port:
                seen.append(frame)
                last_s = now_s
        is_quiet = port and now_s - last_s > _QUIET_S
        if now_s > end_s or len(seen) >= FRAMES_MAX or is_quiet or is_over():
            break
    return port, seen


def _hosts(view: View) -> dict[bytes, str]:
    """The servers' MAC addresses, this one's first."""
    names = server_names(view)
    settings = view.tables.settings.get(0)
    found: dict[bytes, str] = {}
    if settings is not None:
        me = view.snapshot.me
        found |= {settings.front_mac: me, settings.back_mac: me}
        found |= {one.mac: me for one in settings.uplink}
    for index, server in view.servers():
        found.setdefault(server.mac, names[index])
    return found
