# SPDX-License-Identifier: Apache-2.0
"""Keys in the data plane, loaded ahead: a dead agent loses no handshake and no session.

Handshake cookies live seconds, so their keys are there for a day to come; session cookies live
for weeks, so theirs are there for a month that was and a month to come.
"""

import struct

from ipos.agent.columns import Columns
from ipos.agent.plan import key_words
from ipos.handshake.keys import EPOCH_S, FarmKeys, epoch_of
from ipos.inic.layout import constant
from ipos.inic.maps import Tables
from ipos.inic.rows import EpochKey

AHEAD_S = 86_400
REFILL_S = 3_600
DAY_S = 86_400
SESSION_DAYS = 30
"""How old a session cookie is believed at most, and how long an agent may be dead."""
_ROW = Columns("ipos_epoch_key", ("key", "epoch", "valid"), tuple)


class CookieKeys:
    """Writes the keys of every epoch from the last one to a day ahead, each once.

    As bytes and in one call: an agent that starts writes thousands of them before it serves.
    """

    def __init__(self, tables: Tables, keys: FarmKeys) -> None:
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
                epoch % self._slots: _ROW.write((_words(self._keys.cookie(epoch)), epoch, 1))
                for epoch in wanted
                if epoch not in self._written
            }
        )
        self._written = wanted


def _words(key: bytes) -> bytes:
    return struct.pack("=QQ", *key_words(key))


class SessionKeys:
    """Writes the keys of every day from a month ago to a month ahead, each once."""

    def __init__(self, tables: Tables, keys: FarmKeys) -> None:
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
                row = EpochKey(key_words(self._keys.session(day)), day)
                self._table.put(day % self._slots, row)
        self._written = wanted
