# SPDX-License-Identifier: Apache-2.0
"""The native library against `spec.containers`: connections in any state, containers of any kind.

What comes out of a container, what goes into one, what clients send to sockets in containers, and
ICMP about what those have sent.
"""

from __future__ import annotations

import random
from contextlib import closing
from typing import Any

from ipos.abi.layout import constant
from spec import containers
from spec.containers import OURS, Connection, Endpoint, State
from tests.support.golden import icmp, packets
from tests.support.golden.machine import LISTENER, Config, NativeMachine, Out, Ran, configure
from tests.support.golden.row import into_box
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_migration import HEAD_END
from tests.support.golden.rows_request import LOCAL

PLACES = ("", "front", "back", "elsewhere")
"""Our own kernel, and interfaces that stand for our ends of wires to containers."""
_MARK = constant("IPOS_MARK_BOX")
_STATES = {state: constant(f"IPOS_EP_{state.name}") for state in State}
_BOXED = constant("IPOS_EP_BOXED")
_TEMPORARY = [constant(f"IPOS_TEMP_{name}")
              for name in ("OPEN", "CLOSED", "SYN", "RESET", "SYN_HERE", "REFUSED")]  # fmt: skip
_ICMP = packets.from_router(icmp.fragmentation_needed())
_LATER = packets.client("PA", packets.HEAD, seq=HEAD_END)


def run(seed: int, count: int) -> tuple[int, list[str]]:
    """So many packets; how many there were, and what differed."""
    rng = random.Random(seed)
    found: list[str] = []
    done = 0
    while done < count and len(found) < 20:
        done += 1
        with closing(NativeMachine()) as machine:
            trial = _Trial(rng, machine)
            kind = rng.choices((trial.comes_out, trial.goes_in, trial.follows), (6, 2, 2))[0]
            if told := kind():
                found.append(f"packet {done} of seed {seed}: {told}, {trial.connection}")
    return done, found


class _Trial:
    """One connection, as the library and as the statement have it."""

    def __init__(self, rng: random.Random, machine: NativeMachine) -> None:
        self.rng = rng
        self.machine = machine
        self.where = {machine.ifindex(name) if name else OURS: name for name in PLACES}
        self.connection = Connection(
            self._any(),
            Endpoint(rng.choice(list(State)), self._any()) if rng.random() < 0.6 else None,
            rng.random() < 0.4,
            rng.random() < 0.3,
        )

    def comes_out(self) -> str:
        """Of a container: some segment in the name of a service, or of nobody."""
        self._prepare()
        by = self.rng.choice([one for one in self.where if one != OURS])
        ours = self.rng.random() < 0.9
        frame = packets.answer(
            self.rng.choice(("A", "PA", "FA", "RA", "SA")),
            seq=packets.ISS + self.rng.randrange(3), ack=HEAD_END, window=500,
            by_port=packets.WEB if ours else 9, data=self.rng.choice((b"", b"hello")),
        )  # fmt: skip
        ran = self.machine.box(frame, self.where[by], 0, out=True)
        if not ours:
            return self._differs(ran, "unspec", None)
        if containers.may_send(self.connection, by):
            return self._differs(ran, "redirect", Out("front", frame, way="neighbour"))
        return self._differs(ran, "shot", None, DROP_BOX_FOREIGN=1)

    def goes_in(self) -> str:
        """A packet at the container's end of the wire, where only those with a mark are ours."""
        self._prepare()
        syn, marked = self.rng.random() < 0.3, self.rng.random() < 0.8
        frame = packets.syn() if syn else packets.client("PA", packets.HEAD)
        ran = self.machine.box(frame, "elsewhere", _MARK if marked else 0, out=False)
        made = containers.is_made(self.connection, syn=syn)
        if not marked:
            return self._differs(ran, "unspec", None)
        if bool(ran.assigned) != made:
            return f"given to a listener: {bool(ran.assigned)}, not {made}"
        if made:
            return self._differs(ran, "ok", None) or ("the mark stays" if ran.mark else "")
        return self._differs(ran, "shot", None, DROP_NOT_ADOPTED=1)

    def follows(self) -> str:
        """What a client sends to a socket, or a router says of what the socket has sent."""
        endpoint = Endpoint(State.ATTACHED, self._any())
        self.connection = Connection(self.connection.application, endpoint)
        self._prepare()
        frame = self.rng.choice((_LATER, _ICMP))
        ran = self.machine.ingress(frame, "front")
        place = containers.place(self.connection)
        if place == OURS:
            return self._differs(ran, "ok", None)
        into = into_box(frame)
        wanted = Out(self.where[place], into.frame, into.inward, into.mark, into.way)
        return self._differs(ran, "redirect", wanted)

    def _any(self) -> int:
        return self.rng.choice(list(self.where))

    def _prepare(self) -> None:
        """The farm and the rows. There is some container, or a program asks for none."""
        connection, machine = self.connection, self.machine
        configure(machine, Config(box=self.where[connection.application]))
        settings = machine.table("settings")[0]
        flags = settings["flags"] | constant("IPOS_BOXES")
        machine.table("settings")[0] = {**settings, "flags": flags}
        machine.listen((LISTENER,))
        if connection.temporary:
            state = self.rng.choice(_TEMPORARY)
            row = {"state": state, "server": 1, "port": packets.APPLICATION}
            machine.table("temporary")[KEY] = row
        if connection.left:
            machine.table("left_behind")[KEY] = {"iss": packets.ISS, "sent": packets.ISS + 1}
        if connection.endpoint is not None:
            name = self.rng.choice(("local", "connect"))
            machine.table(name)[KEY] = self._row(connection.endpoint)

    def _row(self, endpoint: Endpoint) -> dict[str, Any]:
        """A number that is no container's is left over where the flag is not set."""
        boxed = endpoint.container != OURS
        return {
            **LOCAL,
            "state": _STATES[endpoint.state],
            "flags": _BOXED if boxed else 0,
            "box": endpoint.container if boxed else self._any(),
            "cookie": 77 if endpoint.state is State.ATTACHED else 0,
        }

    def _differs(self, ran: Ran, verdict: str, sent: Out | None, **counts: int) -> str:
        if ran.verdict != verdict:
            return f"{ran.verdict}, not {verdict}"
        if ran.redirected != sent:
            return f"{ran.redirected}, not {sent}"
        counted = {name: n for name, n in self.machine.counters().items() if name in _COUNTED}
        return f"counters {counted}, not {counts}" if counted != counts else ""


_COUNTED = ("DROP_BOX_FOREIGN", "DROP_NOT_ADOPTED")
