# SPDX-License-Identifier: Apache-2.0
"""A client's reset that our kernel may take later, when nobody tells us: the agent is to ask."""

from ipos.abi.layout import constant, layout
from ipos.agent.expiry import expiry_rules
from ipos.agent.expiry.expiry_rules import Fate, Limits
from tests.support.golden import packets as p
from tests.support.golden.machine import NativeMachine
from tests.support.golden.row import Row, Step, prepare, run, rx
from tests.support.golden.rows_close import local
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_migration import HEAD_END
from tests.support.golden.rows_request import SOCKET

PUT_OFF = p.client("R", seq=HEAD_END + 1)
"""The socket expects another number yet: bytes before it wait for a process, too."""


def test_a_reset_that_is_put_off_leaves_its_row_in_doubt() -> None:
    machine = NativeMachine()
    try:
        row = Row(about="", steps=[], counts={}, before=local(), sockets=(SOCKET,))
        prepare(machine, row)
        first = run(machine, rx("front", PUT_OFF, "to kernel"))
        (again,) = first.clones
        assert again.inward, "once more, behind what is on its way"
        assert seen_ns(machine) == constant("IPOS_IN_DOUBT"), "the copy may be lost"
        run(machine, Step(hook="inward", where="front", frame=again.frame, verdict="ok"))
        assert seen_ns(machine) == constant("IPOS_IN_DOUBT")
        endpoint = machine.table("local")[KEY]
        told = expiry_rules.OWNED.read(layout("ipos_endpoint").pack(endpoint))
        assert expiry_rules.owned(told, machine.now_ns(), Limits()) is Fate.ASK
        run(machine, rx("front", p.client("A", seq=HEAD_END), "to kernel"))
        assert seen_ns(machine) == machine.now_ns(), "it lives: there is no doubt any more"
    finally:
        machine.close()


def seen_ns(machine: NativeMachine) -> int:
    return int(machine.table("local")[KEY]["last_seen_ns"])
