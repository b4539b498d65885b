# SPDX-License-Identifier: Apache-2.0
"""Derives every key of a farm from its one secret, so a server needs only the secret to be a
member.

The secret is stretched first, because one that a person thinks of can be guessed from one frame: by
scrypt (RFC 7914; N 16384, r 8, p 1: 16 MiB and some 50 ms, once in a process), salted with
b"ipos farm " and the farm's name, so that farms with one secret share no key. A key is the first 16
bytes of HMAC-SHA256 (RFC 2104) under those 32 bytes over a label:

    frame tags      b"ipos frame 2": those of the first form have no tag in common with them
    state datagrams b"ipos state"
    cookies         b"ipos cookie" and the epoch, 8 bytes, big-endian
    learned cookies b"ipos learn"
    sessions        b"ipos session" and the day since 1970, 8 bytes, big-endian

What signs a cookie signs no frame. An epoch is 16 seconds of wall-clock time counted from 1970, the
same on every server; a key of the past cannot be had from a later one without the secret.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from dataclasses import dataclass, field

from ipos.errors import IposError

KEY_SIZE = 16
EPOCH_S = 16
SECRET_MIN = 16
_COST = {"n": 1 << 14, "r": 8, "p": 1}
_ALSO = b"\nalso "


@dataclass(frozen=True, slots=True)
class FarmKeys:
    """Keys of the farm with this secret and name; ``IposError`` if it is shorter than 16 bytes."""

    secret: bytes = field(repr=False)
    farm: str

    def __post_init__(self) -> None:
        if len(self.secret) < SECRET_MIN:
            raise IposError(
                f"the farm's secret has {len(self.secret)} bytes and needs at least {SECRET_MIN}: "
                "write a longer one, the same on every server (head -c 32 /dev/urandom)"
            )

    @property
    def frame(self) -> bytes:
        """The key of the tags in frames on the back LAN."""
        return self._derive(b"ipos frame 2")

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
        return hmac.digest(_stretched(self.secret, self.farm), label, "sha256")[:KEY_SIZE]


@dataclass(frozen=True, slots=True)
class KeyRing:
    """New tags and cookies are made under `main`; those made under `other` are believed, too.
    Servers that have both secrets understand each other, whichever of the two is `main`. So a farm
    changes its secret in three steps, each on all servers before the next: the new one is believed,
    then used, then the old one is believed no more."""

    main: FarmKeys
    other: FarmKeys | None = None

    def may_follow(self, before: KeyRing) -> bool:
        """Whether servers that still have the keys from before believe new tags."""
        return self.main in (before.main, before.other)


def key_ring(content: bytes, farm: str) -> KeyRing:
    """The keys of a secret file: its secret, and after `also ` in a second line one to believe."""
    main, other = secrets_in(content)
    return KeyRing(FarmKeys(main, farm), FarmKeys(other, farm) if other is not None else None)


def secrets_in(content: bytes) -> tuple[bytes, bytes | None]:
    """The secret and the other one, without white space around them."""
    main, also, other = content.strip().partition(_ALSO)
    return main.strip(), other.strip() if also else None


@functools.lru_cache(maxsize=16)
def _stretched(secret: bytes, farm: str) -> bytes:
    return hashlib.scrypt(secret, salt=b"ipos farm " + farm.encode(), **_COST, dklen=32)


def epoch_of(wall_s: float) -> int:
    """The epoch of a wall-clock time in seconds since 1970."""
    return int(wall_s // EPOCH_S)
