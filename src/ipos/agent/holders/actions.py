# SPDX-License-Identifier: Apache-2.0
"""What has to be done about an address, and what is reported."""

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What is to be done, or has happened."""

    ASK = "ask"
    ANNOUNCE = "announce"
    TAKEN = "taken"
    GIVEN_UP = "given up"
    ANSWERED = "answered elsewhere"


@dataclass(frozen=True, slots=True)
class Action:
    """For one address. `why` is a clause, of what is reported.

    is_own: whether this server's own configuration lists the address, so that it is no news.
    """

    kind: Kind
    address: int
    why: str = ""
    is_own: bool = False
