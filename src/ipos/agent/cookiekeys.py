# SPDX-License-Identifier: Apache-2.0
"""Cookie keys in the data plane, a day ahead: a dead agent loses no handshake for that long."""

from ipos.agent.plan import key_words
from ipos.handshake.keys import EPOCH_S, FarmKeys, epoch_of
from ipos.inic.layout import constant
from ipos.inic.maps import Tables
from ipos.inic.rows import EpochKey

AHEAD_S = 86_400
REFILL_S = 3_600


class CookieKeys:
    """Writes the keys of every epoch from the last one to a day ahead, each once."""

    def __init__(self, tables: Tables, keys: FarmKeys) -> None:
        self._table = tables.cookie_keys
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
        for epoch in wanted:
            if epoch not in self._written:
                words = key_words(self._keys.cookie(epoch))
                self._table.put(epoch % self._slots, EpochKey(words, epoch))
        self._written = wanted
