# SPDX-License-Identifier: Apache-2.0
"""Loads the data plane's keys ahead of time, so handshakes and sessions survive a dead agent.

Handshake cookies live seconds, so their keys are there for a day to come; session cookies live
for weeks, so theirs are there for a month that was and a month to come. And the row of `tag_keys`:
what the data plane makes tags of packets by.
"""

import struct
from dataclasses import replace

from ipos.abi.columns import Columns
from ipos.abi.layout import constant
from ipos.abi.rows import EpochKey, KeyValid, TagKey, TagKeys
from ipos.agent.rows.desired import key_words
from ipos.handshake.keys import EPOCH_S, KeyRing, epoch_of
from ipos.kernel.maps import Tables
from ipos.wire.tags import packet_key

AHEAD_S = 86_400
REFILL_S = 3_600
DAY_S = 86_400
SESSION_DAYS = 30
"""How old a session cookie is believed at most, and how long an agent may be dead."""
_ROW = Columns("ipos_epoch_key", ("key", "other", "epoch", "valid"), tuple)
_VALID = KeyValid.VALID
_OTHER = KeyValid.OTHER


class CookieKeys:
    """Writes the keys of every epoch from the last one to a day ahead, each once.

    As bytes and in one call: an agent that starts writes thousands of them before it serves.
    """

    def __init__(self, tables: Tables, keys: KeyRing) -> None:
        self._table = tables.cookie_key_rows
        self._keys = keys
        self._slots = constant("IPOS_EPOCHS")
        self._written: range = range(0)

    def fill(self, wall_s: float) -> None:
        """Write what is missing; cheap when nothing is. A wall clock may also step back."""
        now = epoch_of(wall_s)
        if now - 1 in self._written and (now + REFILL_S // EPOCH_S) in self._written:
            ahead = self._written.stop - now
            if ahead > (AHEAD_S - REFILL_S) // EPOCH_S:
                return
        wanted = range(now - 1, now + AHEAD_S // EPOCH_S + 1)
        self._table.put_all(
            {
                epoch % self._slots: _ROW.write(self._row(epoch))
                for epoch in wanted
                if epoch not in self._written
            }
        )
        self._written = wanted

    def _row(self, epoch: int) -> tuple[bytes, bytes, int, int]:
        main, other = self._keys.main, self._keys.other
        words = _words(main.cookie(epoch))
        if other is None:
            return words, bytes(len(words)), epoch, _VALID
        return words, _words(other.cookie(epoch)), epoch, _VALID | _OTHER


def _words(key: bytes) -> bytes:
    return struct.pack("=QQ", *key_words(key))


class SessionKeys:
    """Writes the keys of every day from a month ago to a month ahead, each once."""

    def __init__(self, tables: Tables, keys: KeyRing) -> None:
        self._table = tables.session_keys
        self._keys = keys
        self._slots = constant("IPOS_SESSION_DAYS")
        self._written: range = range(0)

    def fill(self, wall_s: float) -> None:
        """Write what is missing. A day that is too old loses its slot to one ahead."""
        today = int(wall_s // DAY_S)
        wanted = range(max(today - SESSION_DAYS, 0), today + SESSION_DAYS + 1)
        if wanted == self._written:
            return
        for day in wanted:
            if day not in self._written:
                main, other = self._keys.main, self._keys.other
                row = EpochKey(key_words(main.session(day)), epoch=day, valid=_VALID)
                if other is not None:
                    row = replace(row, other=key_words(other.session(day)), valid=_VALID | _OTHER)
                self._table.put(day % self._slots, row)
        self._written = wanted


def tag_keys(keys: KeyRing) -> TagKeys:
    """Of the key that frames are made under, and of the one that is believed too, if any."""
    return TagKeys((tag_key(keys.main.frame), tag_key((keys.other or keys.main).frame)))


def tag_key(frame: bytes) -> TagKey:
    """Of one frame key."""
    key = packet_key(frame)
    return TagKey(key_words(key.sip), key.nh)
