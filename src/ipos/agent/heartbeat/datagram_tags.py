# SPDX-License-Identifier: Apache-2.0
"""The tag of every datagram between agents, and the keys under which tags are made and believed.

The tag is BLAKE2b (RFC 7693), keyed with the farm's state key, 16 bytes. While the farm's secret
changes, two keys are believed and one of them makes tags, so all servers that have both understand
each other.
"""

import hashlib
import hmac

TAG_SIZE = 16


class StateKeys:
    """The keys. Senders and receivers share one object, so a change of keys reaches all."""

    def __init__(self, main: bytes, other: bytes | None = None) -> None:
        self.take(main, other)

    def take(self, main: bytes, other: bytes | None = None) -> None:
        """Make tags under `main` from now on, and believe those under `other` too."""
        self.main = main
        self.believed = (main,) if other is None else (main, other)


Key = bytes | StateKeys
"""One key for good, or the farm's, which may change."""


def tag(body: bytes, key: Key) -> bytes:
    return _tag(body, key if isinstance(key, bytes) else key.main)


def is_right(body: bytes, said: bytes, key: Key) -> bool:
    believed = (key,) if isinstance(key, bytes) else key.believed
    return any(hmac.compare_digest(said, _tag(body, one)) for one in believed)


def _tag(body: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(body, key=key, digest_size=TAG_SIZE).digest()
