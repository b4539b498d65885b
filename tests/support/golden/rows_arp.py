# SPDX-License-Identifier: Apache-2.0
"""ARP requests on front for service addresses."""

from typing import Any

from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

from tests.support.golden import packets as p
from tests.support.golden.machine import SERVERS, Config
from tests.support.golden.row import Row, Step, Table, rx, to_front
from tests.support.golden.rows_states import KNOWN
from tests.support.golden.server_states import numbers

MS = 1_000_000
_ALL = "ff:ff:ff:ff:ff:ff"
_ROUTER_IP = "203.0.113.254"
_HOLDS, _SILENT = Config(arp="ANSWER"), Config(arp="SILENT")
_OTHER = SERVERS[2][0]


def _head(source: str, to: str, vlan: int) -> Packet:
    head = Ether(src=source, dst=to)
    return head / Dot1Q(vlan=vlan) if vlan else head


def _asks(
    asked: str = p.SERVICE, by: str = _ROUTER_IP, to: str = _ALL, vlan: int = 0, **fields: Any
) -> bytes:
    head = _head(p.ROUTER, to, vlan)
    packet = head / ARP(op=1, hwsrc=p.ROUTER, psrc=by, pdst=asked, **fields)
    return bytes(packet).ljust(60, b"\0")


def _answers(asked: str = p.SERVICE, to: str = _ROUTER_IP, vlan: int = 0) -> bytes:
    head = _head(p.FRONT, p.ROUTER, vlan)
    packet = head / ARP(op=2, hwsrc=p.FRONT, psrc=asked, hwdst=p.ROUTER, pdst=to)
    return bytes(packet).ljust(60, b"\0")


def _passes(about: str, frame: bytes, where: str = "front", config: Config = _HOLDS) -> Row:
    step = Step(hook="xdp", where=where, frame=frame, verdict="pass")
    return Row(about=f"ARP passes: {about}", steps=[step], counts={"PASSED": 1}, config=config)


def _asks_router(by: str = p.SERVICE) -> bytes:
    """Our own kernel asks for the router."""
    packet = Ether(src=p.FRONT, dst=_ALL) / ARP(op=1, hwsrc=p.FRONT, psrc=by, pdst=_ROUTER_IP)
    return bytes(packet).ljust(60, b"\0")


def _leaves(frame: bytes, left: bytes) -> Step:
    return Step(hook="out", where="front", frame=frame, verdict="ok", left=left)


def _heard(last_ns: int, since_ns: int = -1_000_000 * MS) -> dict[str, Table]:
    return {"heard": [(0, {"last_ns": last_ns, "since_ns": since_ns})]}


# fmt: off
ROWS = [
    Row(about="ARP: the holder of an address answers a broadcast",
        steps=[rx("front", _asks(), "redirect", to_front(_answers()))], counts={}, config=_HOLDS),
    Row(about="ARP: the holder answers a question to itself, as of a router that makes sure",
        steps=[rx("front", _asks(to=p.FRONT), "redirect", to_front(_answers()))], counts={},
        config=_HOLDS),
    Row(about="ARP: the holder answers a probe, which has no sender (RFC 5227)",
        steps=[rx("front", _asks(by="0.0.0.0"), "redirect", to_front(_answers(to="0.0.0.0")))],
        counts={}, config=_HOLDS),
    Row(about="ARP: in front's VLAN, answered in it",
        steps=[rx("front", _asks(vlan=7), "redirect", to_front(_answers(vlan=7)))], counts={},
        config=Config(arp="ANSWER", front_vlan=7)),
    Row(about="ARP: nobody answers for an address that another server holds",
        steps=[rx("front", _asks(), "drop"), rx("front", _asks(by="0.0.0.0"), "drop"),
               rx("front", _asks(by=p.SERVICE), "drop")],
        counts={"DROP_ARP_ELSEWHERE": 3}, config=_SILENT),
    Row(about="ARP: who heard another server a short while ago answers",
        steps=[rx("front", _asks(), "redirect", to_front(_answers()))], counts={}, config=_HOLDS,
        before=_heard(-200 * MS)),
    Row(about="ARP: who was away does not know whether another server holds the address by now",
        steps=[rx("front", _asks(), "drop"), rx("front", _asks(to=p.FRONT), "drop")],
        counts={"DROP_ARP_AWAY": 2}, config=_HOLDS, before=_heard(-900 * MS)),
    Row(about="ARP: who was away answers if no other server is heard for a while",
        steps=[rx("front", _asks(), "redirect", to_front(_answers()))], counts={}, config=_HOLDS,
        before=_heard(-1500 * MS, -600 * MS)),
    Row(about="ARP: who hears others again has time to look",
        steps=[rx("front", _asks(), "drop")], counts={"DROP_ARP_AWAY": 1}, config=_HOLDS,
        before=_heard(-100 * MS, -200 * MS)),
    Row(about="ARP: who has heard others again for a while answers",
        steps=[rx("front", _asks(), "redirect", to_front(_answers()))], counts={}, config=_HOLDS,
        before=_heard(-100 * MS, -600 * MS)),
    Row(about="ARP: who is away again doubts again",
        steps=[rx("front", _asks(), "drop")], counts={"DROP_ARP_AWAY": 1}, config=_HOLDS,
        before=_heard(-900 * MS, -901 * MS)),
    Row(about="ARP: who was away and hears another server again does not know it sooner",
        steps=[rx("back", numbers(), "drop"), rx("front", _asks(), "drop")],
        counts={"STATE_HEARD": 1, "DROP_ARP_AWAY": 1}, config=_HOLDS,
        before={**KNOWN, **_heard(-900 * MS)}, traffic={2: (9, 4)}),
    Row(about="ARP: our kernel does not ask in the name of an address that another server holds",
        steps=[_leaves(_asks_router(), _asks_router(by="0.0.0.0"))], counts={}, config=_SILENT),
    Row(about="ARP: our kernel asks in the name of an address that is held here",
        steps=[_leaves(_asks_router(), _asks_router())], counts={}, config=_HOLDS),
    Row(about="ARP: our kernel's reply goes out as it is",
        steps=[_leaves(_answers(), _answers())], counts={}, config=_SILENT),
    _passes("the kernel answers for the address", _asks(), config=Config()),
    _passes("the address is no service's", _asks("203.0.113.9")),
    _passes("the address is another server's", _asks(_OTHER)),
    _passes("a question to another machine", _asks(to="02:00:00:00:00:99")),
    _passes("another machine announces the address", _asks(by=p.SERVICE)),
    _passes("a reply, for who asked", _answers()),
    _passes("on another VLAN", _asks(vlan=9)),
    _passes("on back", _asks(), where="back"),
    _passes("hardware that is not Ethernet", _asks(hwtype=6)),
    _passes("cut short", _asks()[:40]),
]
# fmt: on
