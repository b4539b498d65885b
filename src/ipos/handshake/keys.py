# SPDX-License-Identifier: Apache-2.0
"""The farm's one secret -> every key, so that a server needs nothing else to be a member.

A key is the first 16 bytes of HMAC-SHA256 (RFC 2104) under the secret over a label:

    frame tags      b"ipos frame"
    state datagrams b"ipos state"
    cookies         b"ipos cookie" and the epoch, 8 bytes, big-endian
    learned cookies b"ipos learn"
    sessions        b"ipos session" and the day since 1970, 8 bytes, big-endian

One secret never stands in two places: what signs a cookie signs no frame. An epoch is 16 seconds
of wall-clock time counted from 1970, the same on every server; a key of the past cannot be had
from a later one without the secret.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from ipos.errors import IposError

KEY_SIZE = 16
EPOCH_S = 16
SECRET_MIN = 16


@dataclass(frozen=True, slots=True)
class FarmKeys:
    """Keys of the farm with this secret; ``IposError`` if it is shorter than 16 bytes."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) < SECRET_MIN:
            raise IposError(
                f"the farm's secret has {len(self.secret)} bytes and needs at least {SECRET_MIN}: "
                "write a longer one, the same on every server (head -c 32 /dev/urandom)"
            )

    @property
    def frame(self) -> bytes:
        """The key of the tags in frames on the back LAN."""
        return self._derive(b"ipos frame")

    @property
    def state(self) -> bytes:
        """The key of the datagrams that carry server rows."""
        return self._derive(b"ipos state")

    @property
    def learn(self) -> bytes:
        """The key under which applications' session cookies are hashed."""
        return self._derive(b"ipos learn")

    def cookie(self, epoch: int) -> bytes:
        """The key of the cookies made in one epoch."""
        return self._derive(b"ipos cookie" + epoch.to_bytes(8, "big"))

    def session(self, day: int) -> bytes:
        """The key of the session cookies that a day's responses are given."""
        return self._derive(b"ipos session" + day.to_bytes(8, "big"))

    def _derive(self, label: bytes) -> bytes:
        return hmac.digest(self.secret, label, "sha256")[:KEY_SIZE]


def epoch_of(wall_s: float) -> int:
    """The epoch of a wall-clock time in seconds since 1970."""
    return int(wall_s // EPOCH_S)
