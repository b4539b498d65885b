# SPDX-License-Identifier: Apache-2.0
"""Decisions as the data plane makes them: the ring `decisions` and what its records say.

The programs write a record per decision while the flag WATCH stands in `settings`, one per
decision drawn for the access log of its service, and none otherwise. The ring has one reader, the
agent.
"""

from collections.abc import Mapping
from pathlib import Path

from ipos.abi import header_data
from ipos.abi.codec import Codec
from ipos.abi.families import AnyDecision
from ipos.abi.layout import Counter, constant, header, layout
from ipos.abi.rows import Decision, Decision6, DecisionFlags, Outcome
from ipos.kernel.rings import Ring

_CODEC, _CODEC6 = Codec(Decision), Codec(Decision6)


def decode(record: bytes) -> AnyDecision:
    """A record of the ring; its length says of which family it is.

    A data plane of another version may write a longer or a shorter struct: what is unknown here is
    passed over, what is missing is zero.
    """
    length = int.from_bytes(record[:2], "little")
    if length == _CODEC6.shape.size:
        return _CODEC6.decode(record[:length])
    size = _CODEC.shape.size
    return _CODEC.decode(record[: min(length, size)].ljust(size, b"\0"))


def is_of_request(decision: AnyDecision) -> bool:
    """Whether a record tells how a request that was logged went on: no decision of this server."""
    logged = DecisionFlags.LOGGED in decision.flags
    return logged and decision.outcome in (Outcome.TAKEN, Outcome.ANSWERED)


def timed_out(key: bytes, service: int, first: int, when_ns: int, *, logged: bool) -> bytes:
    """A record as the data plane writes them, of a head that did not end in time.

    `key` is its connection's in the tables, when_ns a time of the boottime clock.
    """
    key_shape = layout("ipos_tuple")
    shape = _CODEC.shape
    if len(key) != key_shape.size:
        key_shape, shape = layout("ipos_tuple6"), _CODEC6.shape
    return shape.pack(
        {
            "length": shape.size,
            "outcome": Outcome.REFUSED,
            "reason": constant("IPOS_REASON_TIMEOUT"),
            "service": service,
            "first": first,
            "flags": DecisionFlags.LOGGED if logged else 0,
            "when_ns": when_ns,
            "tuple": key_shape.unpack(key),
        }
    )


def words(decision: AnyDecision) -> str:
    """Why it was decided so. A refused head's reason is what clients read, too."""
    if decision.reason == constant("IPOS_REASON_HEAD"):
        for refusal in header().ambiguities:
            if refusal.number == decision.refusal:
                return refused(refusal)
    return reasons().get(decision.reason, f"reason {decision.reason}")


def refused(why: Counter) -> str:
    """The reason of a refused head, by its entry in IPOS_AMBIGUITIES."""
    return f"refused: {why.text}"


def reasons() -> Mapping[int, str]:
    """What each number of `enum ipos_reason` means, in the header's own words."""
    return header_data.REASONS


class DecisionRing(Ring):
    """The reading end."""

    def __init__(self, maps: Path) -> None:
        super().__init__(maps, "decisions")
