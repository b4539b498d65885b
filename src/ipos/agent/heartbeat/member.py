# SPDX-License-Identifier: Apache-2.0
"""One member of the farm: what it said last, how old that is, and whether it gets requests."""

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address
from typing import NamedTuple

from ipos.abi.rows import ServerState
from ipos.agent.heartbeat import message
from ipos.agent.heartbeat.message import Rejected, State

ASK_NS = 150_000_000
"""A datagram and a half: its data plane is asked long before anybody calls the server stale. This
and the following are later by as much as it says its states more slowly (`again_ms`)."""

DOUBT_NS = 250_000_000
"""After a look at which its data plane could have answered."""

LATE_NS = 300_000_000
"""An agent that has not run for so long had no CPU, or was stopped."""

STALE_NS = 500_000_000
"""Or two of its states."""

DOWN_NS = 550_000_000
"""With the tenth of a second between two looks, 0.5 to 0.6 s after it died. A client sends again
after 3 times its time-out, which is 0.2 s or a little more, and then only after 7 times."""

TENTH_NS = 100_000_000

CLOCK_MS = 5_000
"""How far a sender's clock may be from ours; cookies bear somewhat more."""
FORGET_NS = 3 * CLOCK_MS * 1_000_000


class Age(Enum):
    """How old what we know of a member is."""

    UNHEARD = "unheard"
    FRESH = "fresh"
    STALE = "stale"
    SUSPECTED = "suspected"
    DOWN = "down"


class Standing(NamedTuple):
    """Why a server that is heard cannot serve, empty when it can: see `member_faults`.

    `state` is what its row says instead of what it says itself. `refused`: it is none of the
    farm's servers, because another has its name or an address of it.
    """

    why: str = ""
    state: ServerState | None = None
    refused: bool = False


def hears_mark(address: int) -> bytes:
    """How a state says that its server hears the one with this back address: two bytes.

    Different for all of a network of 65,536 addresses. Of two with the same mark, one that is not
    heard would seem to be.
    """
    return ((address >> 16 ^ address) & 0xFFFF).to_bytes(2, "big")


_FINE = Standing()


@dataclass(slots=True)
class Member:
    """One server of the farm. `index` is our own number for it in the data plane's maps.

    `boot_ns` is when its agent was first heard, or again after a silence; `deaf_ns` since when it
    says that it does not hear us, 0 for one that does. recalled: `state` is what the maps and the
    last snapshot say of it. paused: we did not run since it was heard.
    """

    back_ip: IPv4Address
    index: int
    state: State | None = None
    heard_ns: int = 0
    sign_ns: int = 0
    newest: tuple[int, int] = (0, 0)
    down: bool = False
    boot_ns: int = 0
    deaf_ns: int = 0
    recalled: bool = False
    paused: bool = False
    standing: Standing = _FINE
    apart_ms: int = 0
    """Our clock minus its own, when its last state came: the time on the way is in it."""

    @property
    def serves(self) -> bool:
        """Whether it is one of the farm's servers, as far as is known."""
        return self.state is not None and not self.standing.refused

    @property
    def again_ns(self) -> int:
        """How long it is silent between two of its states."""
        return self.state.again_ms * 1_000_000 if self.state is not None else 0

    @property
    def ask_ns(self) -> int:
        return ASK_NS + self._slower_ns

    @property
    def _slower_ns(self) -> int:
        return max(0, self.again_ns - TENTH_NS)

    @property
    def stale_ns(self) -> int:
        return max(STALE_NS, 2 * self.again_ns + TENTH_NS)

    def check_time(self, state: State, now_ns: int, wall_ms: int) -> None:
        """Rejected says why its next state is not believed: of another time, or of another."""
        if abs(wall_ms - state.sent_ms) > CLOCK_MS:
            apart_s = round(abs(wall_ms - state.sent_ms) / 1000)
            raise Rejected(
                "clock",
                f"the clock of {state.server} and ours are {apart_s} s apart, which is too much "
                "for it to be believed; set the clocks of all servers by NTP",
            )
        before = self.state
        if (
            before is not None
            and before.mac != state.mac
            and before.boot < state.boot
            and not self.recalled
            and now_ns - self.heard_ns < DOWN_NS
        ):
            raise Rejected(
                "duplicate",
                f"two machines have this back address, {before.mac.hex(':')} and then "
                f"{state.mac.hex(':')}, which is not believed; give it an address of its own",
            )
        forgotten = now_ns - self.heard_ns > FORGET_NS
        if (state.boot, state.sequence) <= self.newest and not forgotten:
            raise Rejected("replayed", "a state datagram that is not newer than the last one")

    def hear(self, state: State, now_ns: int, mark: bytes) -> None:
        """Take its word. `mark` is ours, see `hears_mark`."""
        before = self.state
        silent_ns = now_ns - self.heard_ns
        begins = before is None or before.boot != state.boot or silent_ns > self.stale_ns
        if begins or self.paused:
            self.boot_ns, self.deaf_ns = now_ns, 0
        if begins or self.paused or before is None or before.hears != state.hears:
            if state.hears is None or message.contains(state.hears, mark):
                self.deaf_ns = 0
            elif not self.deaf_ns:
                self.deaf_ns = now_ns
        self.state, self.heard_ns, self.recalled, self.paused = state, now_ns, False, False
        self.down = state.state == ServerState.DOWN  # its farewell
        self.newest = (state.boot, state.sequence)

    def hear_again(self, newest: tuple[int, int], last_ns: int, now_ns: int, mark: bytes) -> None:
        """It has said numbers at `last_ns`, and that nothing else is new."""
        if self.state is None:
            return
        before_ns = self.heard_ns
        if self.down or self.paused or now_ns - before_ns > self.stale_ns:
            self.hear(self.state, now_ns, mark)
        self.heard_ns, self.newest = max(before_ns, last_ns), newest

    def is_doubtful(self, now_ns: int) -> bool:
        """Whether nothing has come from it for a while: it will be down soon if it stays so."""
        return self.state is not None and self._silent_ns(now_ns) >= DOUBT_NS + self._slower_ns

    def _silent_ns(self, now_ns: int) -> int:
        return now_ns - max(self.heard_ns, self.sign_ns)

    def age(self, now_ns: int) -> Age:
        if self.state is None:
            return Age.UNHEARD
        if self.down or self._silent_ns(now_ns) >= DOWN_NS + self._slower_ns:
            return Age.DOWN
        if now_ns - self.heard_ns < self.stale_ns:
            return Age.FRESH
        return Age.STALE if now_ns - self.sign_ns < self.stale_ns else Age.SUSPECTED
