# SPDX-License-Identifier: Apache-2.0
"""One connection of a real curl, captured on every server at once as `ipos capture` does."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from ipos.errors import IposError
from ipos.kernel.capture import Frame, capturing
from ipos.kernel.maps import Tables
from ipos.lab.lab import Lab
from ipos.ladder.frames import rungs, tell
from ipos.ladder.ladder import Rung, draw

_TRIES = 30
"""A connection that stays at the first server has nothing to show; one in three does."""
_LAST_FRAME_S = 2.0


@dataclass(frozen=True, slots=True)
class Recording:
    """A migrated connection. first: the server addressed; owner: the one that answered."""

    first: str
    owner: str
    rungs: list[Rung]

    def ladder(self) -> str:
        return draw(self.rungs, ("client", self.first, self.owner))


def record(lab: Lab, first: str) -> Recording:
    """Fetch `/` from `first`'s address until another server answers; the last one's frames.

    IposError if curl fails, or if nobody else ever answers.
    """
    with ExitStack() as stack:
        streams = [stack.enter_context(capturing(place.maps_dir.parent)) for place in lab.places()]
        settings = Tables(lab.place(first).maps_dir).settings.get(0)
        assert settings is not None  # capturing has read it
        for _ in range(_TRIES):
            owner, port = _fetch(lab, first)
            frames = until_closed(streams, port, settings.ethertype, migrated=owner != first)
            if owner != first:
                found = rungs(frames, port, _hosts(lab), settings.ethertype)
                return Recording(first, owner, found)
    raise IposError(f"{first} answered {_TRIES} requests in a row itself: nothing migrates")


def _fetch(lab: Lab, first: str) -> tuple[str, int]:
    """Who answered, and the client's port."""
    command = ["curl", "-sS", "-i", "-m", "5", "-w", "%{local_port}", f"http://{lab.front(first)}/"]
    done = lab.run(lab.clients[0].name, command, capture_output=True, text=True)
    if done.returncode != 0:
        raise IposError(f"curl got no answer from {first}: {done.stderr.strip()}")
    lines = done.stdout.splitlines()
    served = [line.split()[1] for line in lines if line.lower().startswith("x-served-by:")]
    if not served:
        raise IposError(f"an answer without X-Served-By came from {first}: {lines[0]}")
    return served[0], int(lines[-1])


def until_closed(
    streams: list[Iterator[Frame | None]], port: int, ethertype: int, *, migrated: bool
) -> list[Frame]:
    """All that was captured, up to the frame that tells the first server of the end."""
    found: list[Frame] = []
    deadline = time.monotonic() + _LAST_FRAME_S
    while True:
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        for stream in streams:
            # The agents' datagrams are captured too: a stream may never fall silent.
            for frame in stream:
                if frame is None:
                    break
                found.append(frame)
                if frame.when_ns >= now_ns:
                    break
        said = (tell(frame.data, ethertype) for frame in found if not frame.outbound)
        closed = any(told and told.port == port and told.closes for told in said)
        if closed or not migrated or time.monotonic() > deadline:
            return found


def _hosts(lab: Lab) -> dict[bytes, str]:
    """MAC address -> server; to the servers the client is what the router sends."""
    return {
        bytes.fromhex(interface.mac.replace(":", "")): node.name
        if node.kind == "server"
        else "client"
        for node in lab.nodes.values()
        for interface in node.interfaces
    }
