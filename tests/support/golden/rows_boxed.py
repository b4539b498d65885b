# SPDX-License-Identifier: Apache-2.0
"""Applications in containers: what goes into one, what is made there, and what comes out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ipos.abi.layout import constant
from native.values import Socket, SocketState
from tests.support.golden import icmp
from tests.support.golden import packets as p
from tests.support.golden.machine import LISTENER, Config, connection_key, refusers
from tests.support.golden.row import (
    Establishes,
    Row,
    Step,
    into_box,
    into_front,
    rx,
    to_back,
    to_client,
)
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_migration import HEAD_END, NOT_ADOPTED, REFUSED
from tests.support.golden.rows_owner import OURS, ours, told
from tests.support.golden.rows_request import (
    ADOPTING,
    ALL,
    ATTACHED,
    LOCAL,
    OPEN_ROW,
    PENDING,
    SOCKET,
    forward,
    offered,
)

BOX = "elsewhere"
MARK = constant("IPOS_MARK_BOX")
BOXED = constant("IPOS_EP_BOXED")
HANDSHAKE = constant("IPOS_EP_HANDSHAKE")
NETNS = 5  # the id of the container's network namespace
OTHER = "back"
"""The interface that leads to another container."""
ONE_NETNS = "TEST_RUN has one network namespace"
HERE = Config(box=BOX)
IN_NONE = Config()
INSIDE = Config(box=BOX, box_netns=NETNS + 1, candidates=(1, 2))
_REQUEST = p.client("PA", p.HEAD)
_TAGGED = p.client("PA", p.HEAD, vlan=p.VLAN)
_CARRIED = p.ether(p.ip("PA", p.HEAD), p.FRONT, p.MAC2, 0, 0)
_LATER = p.client("A", seq=HEAD_END)
_INNER = p.ip("PA", p.HEAD, seq=HEAD_END)
_SYN = p.syn()
_TOO_LONG = p.from_router(icmp.fragmentation_needed())
_ANSWER = p.answer("PA", seq=p.ISS + 1, ack=HEAD_END, window=500, data=b"hello")
_ARP = b"\xff" * 6 + bytes(6) + b"\x08\x06" + bytes(28)
_SYN_HERE: dict[str, Any] = {"temporary": [(KEY, {
    "state": constant("IPOS_TEMP_SYN_HERE"), "server": 1, "port": p.APPLICATION,
})]}  # fmt: skip


def _changed(at: int, value: int) -> bytes:
    """The ICMP with another byte: the checksums are not asked for here."""
    return _TOO_LONG[:at] + bytes((value,)) + _TOO_LONG[at + 1 :]


def inside(*sockets: Socket) -> list[Socket]:
    """In the container."""
    return [replace(one, netns=NETNS) for one in sockets]


def local(state: int, **fields: Any) -> dict[str, Any]:
    return {"local": [(KEY, {**LOCAL, "state": state, **fields})]}


def attached(box: str = BOX, **fields: Any) -> dict[str, Any]:
    return local(ATTACHED, cookie=77, flags=BOXED, box=box, **fields)


def into(frame: bytes, verdict: str, mark: int = MARK, **fields: Any) -> Step:
    """At the container's interface."""
    return Step(hook="into box", where=BOX, frame=frame, verdict=verdict, mark=mark, **fields)


def out(frame: bytes, verdict: str, *sent: Any, where: str = BOX) -> Step:
    """At our end of the wire to it."""
    return Step(hook="out of box", where=where, frame=frame, verdict=verdict, sent=sent)


_LEFT = {"left_behind": [(KEY, {"iss": p.ISS, "sent": p.ISS + 1, "server": 2})]}
_ENDS = p.answer("RA", seq=p.ISS + 1, ack=HEAD_END, window=500)
_UNATTACHED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("that waits for its request", OPEN_ROW),
    ("that is offered by another server", ours(PENDING)),
    ("whose last adoption was in another container", ours(PENDING, flags=BOXED, box=OTHER)),
    ("that is being adopted", ours(ADOPTING, flags=BOXED, box=BOX)),
    ("whose handshake the application's kernel does", _SYN_HERE),
    ("that has ended", {"temporary": [(KEY, {"state": constant("IPOS_TEMP_CLOSED")})]}),
    ("that has moved away", _LEFT),
)
"""Connections without a socket of the farm's, which are the application's container's in BOX."""
_ADOPTED_IN = {"temporary": [], **local(ADOPTING, flags=BOXED)}

IN = [
    Row(about="a request for an application in a container: into it",
        steps=[rx("front", _REQUEST, "redirect", into_box(_REQUEST, MARK))],
        counts={"SERVED_HERE": 1}, traffic={1: (1, 0)}, before=OPEN_ROW, config=HERE,
        after=_ADOPTED_IN),
    Row(about="the same in front's VLAN: the tag stays outside",
        steps=[rx("front", _TAGGED, "redirect", into_box(_REQUEST, MARK))],
        counts={"SERVED_HERE": 1}, traffic={1: (1, 0)}, before=OPEN_ROW,
        config=replace(HERE, front_vlan=p.VLAN), after=_ADOPTED_IN,
        native_only="TEST_RUN shows the frame with the tag inside"),
    Row(about="the same, and the container's sockets are asked for by its namespace",
        steps=[rx("front", _REQUEST, "redirect", into_box(_REQUEST, MARK))],
        counts={"SERVED_HERE": 1}, traffic={1: (1, 0)}, before=OPEN_ROW, config=INSIDE,
        sockets=inside(LISTENER), native_only=ONE_NETNS,
        after={"temporary": [], **local(ADOPTING, flags=BOXED, box_netns=NETNS + 1)}),
    Row(about="a container in which nobody listens, though somebody does outside",
        steps=[rx("front", _REQUEST, "shot", *offered(p.HEAD))],
        counts={"DROP_NOT_ADOPTED": 1, "CHOSEN_AGAIN": 1, "HELD": 1, "MIGRATED": 1,
                "FRAMES_SENT": 2},
        before=OPEN_ROW, traffic={1: (1, 1), 2: (1, 0)}, config=INSIDE,
        after={"temporary": [], "forward": [(KEY, forward())], "holding": [
            (KEY, {"held": len(p.HEAD), "complete": 1, "refused": refusers(1)})]},
        native_only=ONE_NETNS),
    Row(about="a socket in the container has the four-tuple, as a TIME_WAIT of before",
        steps=[rx("front", _REQUEST, "shot", *offered(p.HEAD))],
        counts={"DROP_NOT_ADOPTED": 1, "CHOSEN_AGAIN": 1, "HELD": 1, "MIGRATED": 1,
                "FRAMES_SENT": 2},
        before=OPEN_ROW, traffic={1: (1, 1), 2: (1, 0)}, config=INSIDE,
        sockets=inside(LISTENER, SOCKET),
        after={"temporary": [], "forward": [(KEY, forward())], "holding": [
            (KEY, {"held": len(p.HEAD), "complete": 1, "refused": refusers(1)})]},
        native_only=ONE_NETNS),
    Row(about="a request of another server's, on front's ingress: into the container",
        steps=[Step(hook="inward", where="front", frame=_CARRIED, verdict="redirect",
                    sent=(into_box(_CARRIED, MARK),))],
        counts={}, before={"connect": [(KEY, {**OURS, "state": PENDING})]}, config=HERE,
        after={"connect": [(KEY, {**OURS, "state": ADOPTING, "flags": BOXED})]}),
    Row(about="a request whose adoption has failed in a container: to where the application is now",
        steps=[Step(hook="inward", where="front", frame=_CARRIED, verdict="redirect",
                    sent=(into_box(_CARRIED, MARK),))],
        counts={}, before=ours(PENDING, flags=BOXED, box=OTHER), config=HERE,
        after=ours(ADOPTING, flags=BOXED)),
    Row(about="the same when the application is in no container any more",
        steps=[Step(hook="inward", where="front", frame=_CARRIED, verdict="ok", adopted=ALL)],
        counts={}, before=ours(PENDING, flags=BOXED), config=IN_NONE,
        after=ours(ADOPTING, flags=0)),
    Row(about="what follows goes where the socket is, and XDP leaves it to tc",
        steps=[rx("front", _LATER, "redirect", into_box(_LATER))], counts={},
        before=attached(), config=HERE, native_only="TEST_RUN pads the frame that is redirected"),
    Row(about="type 2 with what follows: into the container, and XDP leaves it to tc",
        steps=[rx("back", p.packet(_INNER), "redirect",
                  into_box(p.ether(_INNER, p.FRONT, p.MAC2, 0, 0)))],
        counts={"FRAMES_RECEIVED": 1, "DECAPSULATED": 1},
        before=ours(ATTACHED, cookie=77, flags=BOXED, box=BOX), config=HERE),
    Row(about="it stays there when the service's application is elsewhere by now",
        steps=[rx("front", _REQUEST, "redirect", into_box(_REQUEST))], counts={},
        before=attached(), config=replace(HERE, box="back")),
    Row(about="an endpoint of our own kernel is not drawn into a container",
        steps=[rx("front", _LATER, "to kernel")], counts={},
        before=local(ATTACHED, cookie=77), config=HERE),
    Row(about="a SYN for a server that speaks first, in a container",
        steps=[Step(hook="tc", where="front", frame=_SYN, verdict="redirect",
                    sent=(into_box(_SYN, MARK),)),
               into(_SYN, "ok", adopted="SYN")],
        counts={}, before=_SYN_HERE, config=replace(HERE, select="CONNECTION")),
    Row(about="ICMP about what a container has sent: into it",
        steps=[rx("front", _TOO_LONG, "redirect", into_box(_TOO_LONG))], counts={},
        before=attached(), config=HERE),
    *(Row(about=f"ICMP that is not about what a container has sent: {what}",
          steps=[rx("front", _changed(at, value), "to kernel")], counts={},
          before=attached(), config=HERE)
      for what, at, value in (("another type", 34, 11), ("about UDP", 51, 17),
                              ("about a packet with options", 42, 0x46))),
    Row(about="ICMP about what our own kernel has sent, beside containers",
        steps=[rx("front", _TOO_LONG, "to kernel")], counts={},
        before=local(ATTACHED, cookie=77), config=HERE),
]  # fmt: skip

MADE = [
    Row(about="in the container: the listener adopts it",
        steps=[into(_REQUEST, "ok", adopted=ALL)], counts={},
        before=local(ADOPTING, flags=BOXED), config=HERE),
    Row(about="in the container: a full accept queue, which the row remembers",
        steps=[into(_REQUEST, "shot")], counts={"DROP_NOT_ADOPTED": 1},
        before=local(ADOPTING, flags=BOXED), config=HERE,
        sockets=[Socket(SocketState.LISTEN, LISTENER.service, p.APPLICATION, queued=1, backlog=0)],
        after=local(ADOPTING, flags=BOXED, reason=constant("IPOS_REFUSE_QUEUE_FULL"))),
    Row(about="in the container: a packet whose endpoint has gone",
        steps=[into(_REQUEST, "shot")], counts={"DROP_NOT_ADOPTED": 1}, config=HERE),
    Row(about="in the container: packets that nobody has marked are its own",
        steps=[into(_REQUEST, "unspec", mark=0)], counts={},
        before=local(ADOPTING, flags=BOXED), config=HERE),
    *(Row(about=f"a handshake that {whose} kernel has done: its row says where the socket is",
          steps=[Establishes(socket=SOCKET),
                 rx("front", _LATER, "redirect" if box else "to kernel",
                    *([into_box(_LATER)] if box else []))],
          counts={"ADOPTED": 1, "SERVED_HERE": 1}, traffic={1: (1, 0)}, before=_SYN_HERE,
          config=Config(box=box, box_netns=netns, select="CONNECTION"),
          after={"temporary": [], "local": [
              (KEY, {"state": ATTACHED, "cookie": 77, "flags": flags, "box_netns": netns})]})
      for whose, box, netns, flags in (("a container's", BOX, NETNS + 1, HANDSHAKE | BOXED),
                                       ("our own", "", 0, HANDSHAKE))),
    Row(about="in the container: a SYN, and nobody listens",
        steps=[into(_SYN, "shot")], counts={"DROP_NOT_ADOPTED": 1}, before=_SYN_HERE,
        config=replace(HERE, select="CONNECTION"), sockets=()),
    Row(about="in the container: a SYN for no service",
        steps=[into(p.syn(to_port=9), "shot")], counts={"DROP_NOT_ADOPTED": 1}, config=HERE,
        before={"temporary": [(connection_key(service_port=9), {"state": 4, "server": 1})]}),
    Row(about="in the container: a packet with our mark that is none of TCP",
        steps=[into(_TOO_LONG, "shot")], counts={"DROP_NOT_ADOPTED": 1}, config=HERE),
    Row(about="in the container: programs of another ABI leave all alone",
        steps=[into(_REQUEST, "unspec")], counts={},
        before=local(ADOPTING, flags=BOXED), config=replace(HERE, settings=False)),
    Row(about="a whole adoption in a container: request, socket, what follows, an answer",
        steps=[rx("front", _REQUEST, "redirect", into_box(_REQUEST, MARK)),
               into(_REQUEST, "ok", adopted=ALL),
               Establishes(socket=SOCKET),
               rx("front", _LATER, "redirect", into_box(_LATER)),
               out(_ANSWER, "redirect", to_client(_ANSWER))],
        counts={"SERVED_HERE": 1, "ADOPTED": 1}, traffic={1: (1, 0)}, before=OPEN_ROW, config=HERE,
        after={"temporary": [], **local(ATTACHED, cookie=77, flags=BOXED)}),
    Row(about="the notice behind a request that a container's listener had no room for: type 7",
        steps=[Step(hook="inward", where="front", frame=_CARRIED, verdict="redirect",
                    sent=(into_box(_CARRIED, MARK),)),
               into(_CARRIED, "ok", adopted=ALL),
               Step(hook="inward", where="front", frame=told(3), verdict="redirect",
                    sent=(to_back(told(7, NOT_ADOPTED)),))],
        counts={"FRAMES_SENT": 1, "REFUSED": 1},
        before={"connect": [(KEY, {**OURS, "state": PENDING})]}, config=HERE,
        after={"connect": [], "temporary": [(KEY, {"state": REFUSED})]},
        native_only="TEST_RUN adopts nothing"),
]  # fmt: skip

OUT = [
    Row(about="out of a container: its application's answer, by the next hop to the client",
        steps=[out(_ANSWER, "redirect", to_client(_ANSWER))], counts={}, before=attached(),
        config=HERE),
    *(Row(about=f"out of the application's container: a segment of a connection {which}",
          steps=[out(_ANSWER, "redirect", to_client(_ANSWER))], counts={}, before=before,
          config=HERE) for which, before in _UNATTACHED),
    *(Row(about=f"out of another container: a segment of a connection {which}",
          steps=[out(_ANSWER, "shot", where=OTHER)], counts={"DROP_BOX_FOREIGN": 1},
          before=before, config=HERE) for which, before in _UNATTACHED),
    Row(about="out of a container: a segment while the application is in none",
        steps=[out(_ANSWER, "shot")], counts={"DROP_BOX_FOREIGN": 1}, before=OPEN_ROW),
    Row(about="out of a container: a segment of a connection that our own kernel is adopting",
        steps=[out(_ANSWER, "shot")], counts={"DROP_BOX_FOREIGN": 1},
        before=ours(ADOPTING), config=HERE),
    Row(about="out of a container that was the application's: its connection stays its own",
        steps=[out(_ANSWER, "redirect", to_client(_ANSWER))], counts={}, before=attached(),
        config=replace(HERE, box=OTHER)),
    Row(about="out of a container that was the application's: a segment of one that has moved away",
        steps=[out(_ENDS, "shot")], counts={"DROP_BOX_FOREIGN": 1}, before=_LEFT,
        config=replace(HERE, box=OTHER)),
    Row(about="a reset by a container's socket whose connection has moved ends on our own ingress",
        steps=[out(_ENDS, "redirect", to_client(_ENDS)),
               Step(hook="out", where="front", frame=_ENDS, verdict="redirect",
                    sent=(into_front(_ENDS),))],
        counts={"DROP_MOVED": 1}, before=_LEFT, config=HERE),
    Row(about="out of a container: a segment of no connection",
        steps=[out(_ANSWER, "shot")], counts={"DROP_BOX_FOREIGN": 1}, config=HERE),
    Row(about="out of a container: a segment of another container's connection",
        steps=[out(_ANSWER, "shot")], counts={"DROP_BOX_FOREIGN": 1},
        before=attached(OTHER), config=HERE),
    Row(about="out of a container: a segment of our own kernel's connection",
        steps=[out(_ANSWER, "shot")], counts={"DROP_BOX_FOREIGN": 1},
        before=local(ATTACHED, cookie=77), config=HERE),
    Row(about="out of a container: what is no service's is its own affair",
        steps=[out(p.answer("PA", seq=1, by_port=9), "unspec")], counts={}, config=HERE),
    Row(about="out of a container: ICMP is its own affair",
        steps=[out(_TOO_LONG, "unspec")], counts={}, before=attached(OTHER), config=HERE),
    Row(about="out of a container: ARP is its own affair",
        steps=[out(_ARP, "unspec")], counts={}, config=HERE),
    Row(about="out of a container: programs of another ABI leave all alone",
        steps=[out(_ANSWER, "unspec")], counts={}, before=attached(OTHER),
        config=replace(HERE, settings=False)),
]  # fmt: skip

ROWS = [*IN, *MADE, *OUT]
