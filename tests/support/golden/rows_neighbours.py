# SPDX-License-Identifier: Apache-2.0
"""Neighbour solicitations on front for service addresses, in place of ARP."""

from tests.support.golden import packets as p
from tests.support.golden import packets6 as six
from tests.support.golden.machine import Config
from tests.support.golden.row import Row, Step, Table, rx, to_front

MS = 1_000_000
_HOLDS, _SILENT = Config(arp="ANSWER"), Config(arp="SILENT")


def _row(about: str, *steps: Step, counts: dict[str, int] | None = None, config: Config = _HOLDS,
         before: dict[str, Table] | None = None) -> Row:  # fmt: skip
    return Row(about=f"ND: {about}", steps=steps, counts=counts or {}, config=config,
               before=before or {}, family=6)  # fmt: skip


def _passes(about: str, frame: bytes, where: str = "front", config: Config = _HOLDS) -> Row:
    step = Step(hook="xdp", where=where, frame=frame, verdict="pass")
    return _row(f"passes: {about}", step, counts={"PASSED": 1}, config=config)


def _answered(asked: bytes, answer: bytes) -> Step:
    return rx("front", asked, "redirect", to_front(answer))


def _leaves(verdict: str) -> Step:
    frame = six.advertisement()
    return Step(hook="out", where="front", frame=frame, verdict=verdict)


def _heard(last_ns: int, since_ns: int = -1_000_000 * MS) -> dict[str, Table]:
    return {"heard": [(0, {"last_ns": last_ns, "since_ns": since_ns})]}


ROWS = [
    _row("the holder of an address answers", _answered(six.solicitation(), six.advertisement())),
    _row("the holder answers a question to itself, as of a router that makes sure",
         _answered(six.solicitation(to=p.FRONT), six.advertisement())),
    _row("the holder tells all, where the one who asks has no address (RFC 4862)",
         _answered(six.solicitation(by="::"), six.advertisement(to="::"))),
    _row("in front's VLAN, answered in it",
         _answered(six.solicitation(vlan=7), six.advertisement(vlan=7)),
         config=Config(arp="ANSWER", front_vlan=7)),
    _row("nobody answers for an address that another server holds",
         rx("front", six.solicitation(), "drop"), rx("front", six.solicitation(by="::"), "drop"),
         rx("front", six.solicitation(to=p.FRONT), "drop"), counts={"DROP_ND_ELSEWHERE": 3},
         config=_SILENT),
    _row("who was away does not know whether another server holds the address by now",
         rx("front", six.solicitation(), "drop"), counts={"DROP_ND_AWAY": 1},
         before=_heard(-900 * MS)),
    _row("our kernel does not advertise an address that another server holds", _leaves("shot"),
         counts={"DROP_ND_ELSEWHERE": 1}, config=_SILENT),
    _row("our kernel advertises an address that is held here", _leaves("ok")),
    _passes("the kernel answers for the address", six.solicitation(), config=Config()),
    _passes("the address is no service's", six.solicitation("::203.0.113.9")),
    _passes("a question to another machine", six.solicitation(to="02:00:00:00:00:98")),
    _passes("it has come through a router", six.solicitation(hops=254)),
    _passes("another code", six.solicitation(code=1)),
    _passes("an advertisement, for who asked", six.advertisement()),
    _passes("on another VLAN", six.solicitation(vlan=9)),
    _passes("on back", six.solicitation(), where="back"),
    _passes("cut short", six.solicitation()[:70]),
]  # fmt: skip
