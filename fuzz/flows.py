# SPDX-License-Identifier: Apache-2.0
"""The native library against `spec.flows`: a client's datagrams, and what servers say of the flow.

The clock goes on in steps about as long as the data plane's own times, servers come and go, and
their answers are to this offer or to another one.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import Any

from ipos.abi.layout import constant
from spec import flows
from spec.flows import Row, Server, State
from tests.support.golden import flows as golden
from tests.support.golden import packets
from tests.support.golden.machine import (
    NOW_NS,
    SERVERS,
    SIZES,
    Config,
    NativeMachine,
    configure,
    mac,
)

ME = 1
ORDER = (2, 3, 1)
_STEPS_NS = (0, 1_000_000, 20_000_000, 49_000_000, 51_000_000, 300_000_000, 999_000_000,
             1_001_000_000, 20_000_000_000, 61_000_000_000)  # fmt: skip
_STATES = {Server.READY: "READY", Server.DRAIN: "DRAIN", Server.MAINT: "MAINT",
           Server.DOWN: "DOWN"}  # fmt: skip
_DATAGRAM = packets.from_router(golden.datagram())


def run(seed: int, count: int) -> tuple[int, list[str]]:
    """So many events; how many there were, and what differed."""
    rng = random.Random(seed)
    found: list[str] = []
    done = 0
    while done < count and len(found) < 20:
        flow = _Flow(rng)
        try:
            for _ in range(rng.randrange(5, 40)):
                done += 1
                if told := flow.event():
                    found.append(f"event {done} of seed {seed}: {told}")
                    break
        finally:
            flow.machine.close()
    return done, found


class _Flow:
    """One flow in a farm of three servers, as the library and as the statement have it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.machine = NativeMachine(SIZES)
        configure(self.machine, Config(flows=golden.Flows(candidates=ORDER)))
        self.machine.listen((golden.LISTENER,))
        self.servers = dict.fromkeys(SERVERS, Server.READY)
        self.row: Row | None = None
        self.now_ns = NOW_NS

    def event(self) -> str:
        """What differs after one more, "" for nothing."""
        self.now_ns += self.rng.choice(_STEPS_NS)
        self.machine.moment = self.now_ns
        self.machine.node.clock(self.now_ns)
        kind = self.rng.choices((self._comes, self._said, self._changes), (6, 3, 1))[0]
        before = self.machine.counters()
        told, counts = kind()
        after = self.machine.counters()
        grown = {name: n - before.get(name, 0) for name, n in after.items()}
        grown = {name: n for name, n in grown.items() if n and name not in _BESIDES}
        if told:
            return told
        if grown != counts:
            return f"counters {grown}, not {counts}"
        return self._compare()

    def _comes(self) -> tuple[str, dict[str, int]]:
        came = flows.datagram(self.row, self.now_ns, golden.IDLE_S * 1_000_000_000, self.servers,
                              ME, self._choose)  # fmt: skip
        self.row = came.row
        passed = self.machine.xdp(_DATAGRAM, "front")
        ran = self.machine.ingress(passed.frame, "front")
        did = (ran.verdict, len(ran.clones))
        if came.server is None:
            wanted = ("shot", 0)
        elif came.server == ME:
            wanted = ("ok", 0)
        else:
            wanted = ("redirect", int(came.offered))
        if did != wanted:
            return f"a datagram: {did}, not {wanted}", {}
        counts = dict(came.counts)
        if came.offered:  # it comes by once more
            again = self.machine.ingress(_DATAGRAM, "front", golden.MARK_FLOW)
            counts["FORWARDED"] = 1
            if again.redirected is None or again.redirected.where != "back":
                return f"a datagram behind its offer: {again.verdict}", {}
        return "", counts

    def _said(self) -> tuple[str, dict[str, int]]:
        by = self.rng.choice((2, 3))
        number = self.row.number if self.row and self.rng.random() < 0.8 else self.rng.randrange(4)
        refused, answered = self.rng.random() < 0.4, self.rng.random() < 0.4
        self.row, counter = flows.told(self.row, by, number, refused=refused, answered=answered)
        reason = 1 if refused or answered else 0
        frame = golden.notice(7 if refused else 3, number=number, reason=reason,
                              by=SERVERS[by][1])  # fmt: skip
        ran = self.machine.xdp(frame, "back")
        if ran.verdict != "pass":
            return f"a notice: {ran.verdict} by XDP", {}
        self.machine.ingress(ran.frame, "back")
        return "", {counter: 1} if counter else {}

    def _changes(self) -> tuple[str, dict[str, int]]:
        index = self.rng.choice(ORDER)
        self.servers[index] = self.rng.choice(list(Server))
        row = self.machine.table("servers")[index]
        state = constant(f"IPOS_SERVER_{_STATES[self.servers[index]]}")
        self.machine.table("servers")[index] = {
            **row,
            "mac": mac(SERVERS[index][1]),
            "state": state,
        }
        return "", {}

    def _choose(self, refused: Collection[int]) -> int | None:
        """The first candidate that is ready: the policy is `fixed`."""
        ready = (one for one in ORDER if self.servers[one] is Server.READY)
        return next((one for one in ready if one not in refused), None)

    def _compare(self) -> str:
        rows = {name: self.machine.table(name).get(golden.KEY) for name in ("udp_flows", "udp_new")}
        there: dict[str, Any] | None = rows["udp_flows"] or rows["udp_new"]
        if there is None or self.row is None:
            return "" if there is None and self.row is None else f"row {there}, not {self.row}"
        found = Row(
            server=there["server"], last_seen_ns=there["last_seen_ns"],
            state=list(State)[there["state"]], offered_ns=there["offered_ns"],
            number=there["offer"], refused=tuple(there["refused"][: there["refusals"]]),
            packets=there["packets"], kept=rows["udp_flows"] is not None,
        )  # fmt: skip
        return "" if found == self.row else f"row {found}, not {self.row}"


_BESIDES = {"PASSED", "FRAMES_RECEIVED", "FLOW_KEPT"}
"""What XDP counts, and what a row that is kept shows by itself."""
