# SPDX-License-Identifier: Apache-2.0
"""The end of a connection at its owner, and services that select on connection."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scapy.utils import checksum

from ipos.abi.layout import constant
from native.values import Socket, SocketState
from tests.support.golden import packets as p
from tests.support.golden.machine import LISTENER, Config, connection_key, network
from tests.support.golden.row import Establishes, Row, Step, into_front, rx, to_back, to_front
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_migration import CLOSED, HEAD_END
from tests.support.golden.rows_owner import ours, told
from tests.support.golden.rows_request import ALL, ATTACHED, LOCAL, OPEN_ROW, SOCKET

HERE = 9_000  # bytes that the application has answered
SENT = p.ISS + 1 + HERE
LIVE: dict[str, Any] = {**LOCAL, "state": ATTACHED, "rcv_nxt": HEAD_END, "snd_nxt": SENT}


def local(**fields: Any) -> dict[str, Any]:
    return {"local": [(KEY, {**LIVE, **fields})]}


def mine(**fields: Any) -> dict[str, Any]:
    """An endpoint here whose first server is s2."""
    return ours(ATTACHED, **{"rcv_nxt": HEAD_END, "snd_nxt": SENT, **fields})


def out(frame: bytes, *sent: Any, **fields: Any) -> Step:
    """Our kernel sends on front."""
    return Step(hook="out", where="front", frame=frame, verdict="ok", sent=sent, **fields)


def reply(flags: str, *, seq: int = SENT, ack: int = HEAD_END, data: bytes = b"") -> bytes:
    echo = p.echo(p.OUR_TS, p.TS_LATER)
    return p.answer(flags, seq=seq, ack=ack, window=500, options=echo, data=data)


def kernel_reset(packet: bytes, seq: int) -> bytes:
    """The packet made a RST at this number; its checksum is right again."""
    from scapy.layers.inet import IP, TCP

    made = IP(packet)
    made[TCP].seq, made[TCP].flags = seq, "R"
    del made[TCP].chksum
    return p.from_router(bytes(made))


FIN = p.ip("FA", seq=HEAD_END, ack=SENT + 1)
LAST_ACK = p.client("A", seq=HEAD_END + 1, ack=SENT + 1)
GONE = {"temporary": [(KEY, {"state": CLOSED, "client_end": HEAD_END + 1, "hs": LIVE["hs"]})]}
CLIENT_CLOSED = {"client_fin": HEAD_END + 1, "client_fin_seen": 1, "rcv_nxt": HEAD_END + 1}
SERVER_CLOSED = {"server_fin": SENT + 1, "server_fin_seen": 1, "snd_nxt": SENT + 1}
BOTH_CLOSED = {**CLIENT_CLOSED, **SERVER_CLOSED}
ENDED_HERE = {"CLOSED": 1}

CLOSE = [
    Row(about="what our kernel sends is noted",
        steps=[out(reply("PA"))], counts={}, before=local(rcv_nxt=p.IRS + 1, snd_nxt=p.ISS + 1),
        after=local()),
    Row(about="what our kernel sends in mid-stream is not, where nobody reads answers",
        steps=[out(reply("PA", data=b"more"))], counts={}, config=Config(answers_unread=True),
        before=local(rcv_nxt=p.IRS + 1, snd_nxt=p.ISS + 1),
        after=local(rcv_nxt=p.IRS + 1, snd_nxt=p.ISS + 1)),
    Row(about="an acknowledgement is noted even there",
        steps=[out(reply("A"))], counts={}, config=Config(answers_unread=True),
        before=local(rcv_nxt=p.IRS + 1, snd_nxt=p.ISS + 1), after=local()),
    Row(about="data with a FIN is noted even there",
        steps=[out(reply("FPA", data=b"last", seq=SENT - 4))], counts={},
        config=Config(answers_unread=True), before=local(), after=local(**SERVER_CLOSED)),
    Row(about="the client closes first: its FIN is noted",
        steps=[rx("front", p.client("FA", seq=HEAD_END, ack=SENT), "to kernel")], counts={},
        before=local(), after=local(client_fin=HEAD_END + 1, client_fin_seen=1)),
    Row(about="our kernel closes: its FIN is noted",
        steps=[out(reply("FA"))], counts={}, before=local(), after=local(**SERVER_CLOSED)),
    Row(about="the client closed first, and acknowledges our FIN: the end",
        steps=[rx("front", LAST_ACK, "to kernel")], counts=ENDED_HERE, traffic={1: (0, 1)},
        before=local(**BOTH_CLOSED), after={"local": [], **GONE}),
    Row(about="the same for another first server: type 4",
        steps=[rx("front", LAST_ACK, "to kernel", to_back(told(4)))],
        counts={"CLOSED": 1, "FRAMES_SENT": 1}, before=mine(**BOTH_CLOSED),
        after={"connect": [], **GONE}),
    Row(about="the same by a tagged back",
        steps=[rx("front", LAST_ACK, "to kernel", to_back(told(4, vlan=p.VLAN)))],
        config=Config(back_vlan=p.VLAN),
        counts={"CLOSED": 1, "FRAMES_SENT": 1}, before=mine(**BOTH_CLOSED),
        after={"connect": [], **GONE}),
    Row(about="the client's FIN takes our socket into TIME_WAIT: a RST of ours follows it",
        steps=[rx("front", p.from_router(FIN), "to kernel",
                  into_front(kernel_reset(FIN, HEAD_END + 1)))],
        counts={"TIME_WAIT_ENDED": 1}, before=local(**SERVER_CLOSED),
        after=local(**SERVER_CLOSED, client_fin=HEAD_END + 1, client_fin_seen=1,
                    server_fin_acked=1)),
    Row(about="and the ACK our kernel sends then: the end",
        steps=[out(reply("A", seq=SENT + 1, ack=HEAD_END + 1))], counts=ENDED_HERE,
        traffic={1: (0, 1)},
        before=local(**SERVER_CLOSED, client_fin=HEAD_END + 1, client_fin_seen=1,
                     server_fin_acked=1),
        after={"local": [], **GONE}),
    Row(about="and for another first server: type 4 beside it",
        steps=[out(reply("A", seq=SENT + 1, ack=HEAD_END + 1), to_back(told(4)))],
        counts={"CLOSED": 1, "FRAMES_SENT": 1},
        before=mine(**SERVER_CLOSED, client_fin=HEAD_END + 1, client_fin_seen=1,
                    server_fin_acked=1),
        after={"connect": [], **GONE}),
    Row(about="both close at once: our socket is CLOSING, a RST of ours ends its TIME_WAIT",
        steps=[rx("front", LAST_ACK, "to kernel", into_front(kernel_reset(LAST_ACK[14:],
                                                                          HEAD_END + 1)))],
        counts={"CLOSED": 1, "TIME_WAIT_ENDED": 1}, traffic={1: (0, 1)},
        before=local(**BOTH_CLOSED), after={"local": [], **GONE},
        sockets=[Socket(SocketState.CLOSING, SOCKET.service, p.WEB, SOCKET.client, p.PORT)],
        native_only="a socket in CLOSING needs a peer"),
    Row(about="the client closes early, data of ours is on its way: no RST of ours",
        steps=[rx("front", p.client("FA", seq=HEAD_END, ack=SENT - 5000), "to kernel")], counts={},
        before=local(**SERVER_CLOSED),
        after=local(**SERVER_CLOSED, client_fin=HEAD_END + 1, client_fin_seen=1)),
    Row(about="a request while a TIME_WAIT socket has its tuple: a RST of ours overtakes it",
        steps=[rx("front", p.client("PA", p.HEAD), "redirect",
                  into_front(kernel_reset(p.ip("PA", p.HEAD), p.IRS - 5000)),
                  into_front(p.client("PA", p.HEAD)))],
        counts={"TIME_WAIT_ENDED": 1, "SERVED_HERE": 1}, traffic={1: (1, 0)}, before=OPEN_ROW,
        sockets=[LISTENER, Socket(SocketState.TIME_WAIT, SOCKET.service, p.WEB, SOCKET.client,
                                  p.PORT, p.IRS - 5000)],
        after={"temporary": [], "local": [(KEY, {**LOCAL, "flags": 2})]},
        native_only="a socket in TIME_WAIT needs a peer"),
    Row(about="and comes by again: adopted",
        steps=[Step(hook="inward", where="front", frame=p.client("PA", p.HEAD), verdict="ok",
                    adopted=ALL)],
        counts={}, before={"local": [(KEY, {**LOCAL, "flags": 2})]},
        after={"local": [(KEY, {**LOCAL, "flags": 2, "state": constant("IPOS_EP_ADOPTING")})]}),
    Row(about="the RST of ours, on its way to our kernel",
        steps=[Step(hook="inward", where="front", verdict="ok",
                    frame=kernel_reset(FIN, HEAD_END + 1))],
        counts={}),
    Row(about="a RST of the client's at the exact number: the end",
        steps=[rx("front", p.client("R", seq=HEAD_END), "to kernel",
                  into_front(p.client("R", seq=HEAD_END)))], counts=ENDED_HERE,
        traffic={1: (0, 1)}, before=local(),
        sockets=[LISTENER, replace(SOCKET, rcv_nxt=HEAD_END)],
        after={"local": [], "temporary": [(KEY, {"state": CLOSED, "client_end": HEAD_END})]},
        native_only="an established socket needs a peer"),
    Row(about="a RST at the number our socket expects, of which no answer told us: the end",
        steps=[rx("front", p.client("R", seq=HEAD_END + 5), "to kernel",
                  into_front(p.client("R", seq=HEAD_END + 5)))], counts=ENDED_HERE,
        traffic={1: (0, 1)}, config=Config(answers_unread=True), before=local(),
        sockets=[LISTENER, replace(SOCKET, rcv_nxt=HEAD_END + 5)],
        after={"local": [], "temporary": [(KEY, {"state": CLOSED})]},
        native_only="an established socket needs a peer"),
    Row(about="a RST at a number that was exact before, as nobody reads answers: looked at again",
        steps=[rx("front", p.client("R", seq=HEAD_END), "to kernel",
                  into_front(p.client("R", seq=HEAD_END)))], counts={},
        config=Config(answers_unread=True), before=local(),
        sockets=[LISTENER, replace(SOCKET, rcv_nxt=HEAD_END + 5)],
        native_only="an established socket needs a peer"),
    Row(about="a RST at another number: our kernel judges it, then it comes by again",
        steps=[rx("front", p.client("R", seq=HEAD_END + 9), "to kernel",
                  into_front(p.client("R", seq=HEAD_END + 9)))], counts={}, before=local(),
        sockets=[LISTENER, SOCKET], native_only="an established socket needs a peer"),
    Row(about="it comes by again and our kernel did not take it: nothing has changed",
        steps=[Step(hook="inward", where="front", verdict="ok",
                    frame=p.client("R", seq=HEAD_END + 9))],
        counts={}, before=local(), sockets=[LISTENER, SOCKET],
        native_only="an established socket needs a peer"),
    Row(about="it comes by again, and a process that has our socket puts it off: the end",
        steps=[Step(hook="inward", where="front", verdict="ok",
                    frame=p.client("R", seq=HEAD_END + 9))],
        counts=ENDED_HERE, traffic={1: (0, 1)}, before=local(),
        sockets=[LISTENER, replace(SOCKET, rcv_nxt=HEAD_END + 9)],
        after={"local": [], "temporary": [(KEY, {"state": CLOSED})]},
        native_only="an established socket needs a peer"),
    Row(about="it comes by again and our kernel took it: the end",
        steps=[Step(hook="inward", where="front", verdict="ok",
                    frame=p.client("R", seq=HEAD_END - 1))],
        counts=ENDED_HERE, traffic={1: (0, 1)}, before=local(),
        after={"local": [], "temporary": [(KEY, {"state": CLOSED, "client_end": HEAD_END})]}),
    Row(about="a RST for a row whose socket has gone: the end",
        steps=[rx("front", p.client("R", seq=HEAD_END - 1), "to kernel")],
        counts=ENDED_HERE, traffic={1: (0, 1)}, before=local(),
        after={"local": [], "temporary": [(KEY, {"state": CLOSED, "client_end": HEAD_END})]}),
    Row(about="a RST of our kernel's: the end",
        steps=[out(reply("RA"))], counts=ENDED_HERE, traffic={1: (0, 1)}, before=local(),
        after={"local": [], "temporary": [(KEY, {"state": CLOSED})]}),
    Row(about="a RST of our kernel's before there is a socket: swallowed",
        steps=[Step(hook="out", where="front", frame=reply("RA"), verdict="shot")],
        counts={"DROP_NOT_ADOPTED": 1}, before=ours(constant("IPOS_EP_ADOPTING"))),
    Row(about="SYN for a row whose socket has gone: the end, the client tries again",
        steps=[rx("front", p.syn(seq=HEAD_END + 99), "shot")],
        counts={"CLOSED": 1, "DROP_BAD_FLAGS": 1}, before=local(), traffic={1: (0, 1)},
        after={"local": [], "temporary": [(KEY, {"state": CLOSED})]}),
    Row(about="what our kernel sends elsewhere",
        steps=[out(p.answer("PA", seq=1, ack=1, by="203.0.113.9"))], counts={}, before=local()),
]  # fmt: skip

# ---- the server speaks first --------------------------------------------------------------------

MAIL = connection_key(service_port=p.MAIL)
_NOTHING = {"iss": 0, "irs": p.IRS, "mss": 0, "snd_wscale": 0, "options": 0, "ts_recent": 0,
            "ts_sent": 0}  # fmt: skip
SYN_THERE, SYN_HERE = constant("IPOS_TEMP_SYN"), constant("IPOS_TEMP_SYN_HERE")


def mail(candidates: tuple[int, ...] = (1,), **fields: Any) -> Config:
    return Config(select="CONNECTION", service_port=p.MAIL, candidates=candidates, **fields)


def given(state: int, server: int) -> dict[str, Any]:
    return {"temporary": [(MAIL, {"state": state, "server": server, "port": p.APPLICATION,
                                  "hs": _NOTHING})]}  # fmt: skip


_SYN = p.ip("S", seq=p.IRS, options=p.syn_options(), to_port=p.MAIL)
_ACK = p.ip("A", to_port=p.MAIL)
_RESET = p.ip("R", to_port=p.MAIL)
_THERE = given(SYN_THERE, 2)
_MAIL_HS = {**_NOTHING, "iss": p.ISS}
_MAIL_SOCKET = Socket(SocketState.ESTABLISHED, SOCKET.service, p.MAIL, SOCKET.client, p.PORT,
                      p.IRS + 1)  # fmt: skip
_MAIL_ROW = {"first": 2, "giver": 2, "state": ATTACHED, "cookie": 77, "hs": _MAIL_HS, "flags": 1,
             "endpoint_ip": network(p.SERVICE), "endpoint_port": p.APPLICATION}  # fmt: skip


def _inner(packet: bytes) -> bytes:
    return p.ether(packet, p.FRONT, p.MAC2, 0, 0)


_OTHER = p.ip("S", seq=p.IRS + 0x1234567, to_port=p.MAIL, options=p.syn_options())


def _made_anew(packet: bytes) -> bytes:
    """Our own IP header: id 0, as in what we make of a held request."""
    header = packet[:4] + b"\0\0" + packet[6:10] + b"\0\0" + packet[12:20]
    summed = int(checksum(header)).to_bytes(2, "big")
    return header[:10] + summed + packet[12:]


_ANEW = _made_anew(p.ip("S", seq=p.IRS, to_port=p.MAIL, options=p.syn_options(), window=64240))
_ASKED = {**_NOTHING, "mss": p.CLIENT_MSS, "snd_wscale": p.CLIENT_SCALE, "options": 7,
          "ts_recent": p.TS}  # fmt: skip
ASKED_THERE: dict[str, Any] = {"temporary": [
    (MAIL, {**_THERE["temporary"][0][1], "hs": _ASKED,
            "client_mac": bytes.fromhex("020000000099")})
]}  # fmt: skip

ON_CONNECTION = [
    Row(about="SYN, decided for another server: travels itself",
        steps=[rx("front", p.from_router(_SYN), "redirect", to_back(p.sent_packet(_SYN)))],
        counts={"SYN_FORWARDED": 1, "FORWARDED": 1}, config=mail((2,)),
        after={"temporary": [(MAIL, {"state": SYN_THERE, "server": 2, "hs": _ASKED,
                                     "client_mac": bytes.fromhex("020000000099")})]}),
    Row(about="another SYN on the ports of a handshake that goes on: to the same server",
        steps=[rx("front", p.from_router(_OTHER), "redirect", to_back(p.sent_packet(_OTHER)))],
        counts={"SYN_FORWARDED": 1, "FORWARDED": 1}, config=mail((3, 2)),
        before={"temporary": [(MAIL, {**_THERE["temporary"][0][1], "created_ns": 0})]},
        after={"temporary": [(MAIL, {"server": 2, "hs": {**_NOTHING}})]}),
    Row(about="another SYN long after one that came to nothing: decided anew",
        steps=[rx("front", p.from_router(_OTHER), "redirect",
                  to_back(p.sent_packet(_OTHER, to=p.MAC3, endpoint=p.S3)))],
        counts={"SYN_FORWARDED": 1, "FORWARDED": 1}, config=mail((3, 2)), before=_THERE,
        after={"temporary": [(MAIL, {"server": 3})]}),
    Row(about="type 7 for a SYN: another server gets it at once, made anew",
        steps=[rx("back", p.notice(7, reason=1, service_port=p.MAIL, iss=p.IRS), "redirect",
                  to_back(p.sent_packet(_ANEW, to=p.MAC3, endpoint=p.S3)))],
        counts={"FRAMES_RECEIVED": 1, "CHOSEN_AGAIN": 1, "SYN_FORWARDED": 1, "FORWARDED": 1},
        config=mail((2, 3)), before=ASKED_THERE,
        after={"temporary": [(MAIL, {"state": SYN_THERE, "server": 3,
                                     "refused": [2, 0, 0, 0, 0]})]}),
    Row(about="type 7 for a SYN: our own kernel gets it",
        steps=[rx("back", p.notice(7, reason=1, service_port=p.MAIL, iss=p.IRS), "redirect",
                  into_front(p.from_router(_ANEW)))],
        counts={"FRAMES_RECEIVED": 1, "CHOSEN_AGAIN": 1}, config=mail((2, 1)), before=ASKED_THERE,
        after={"temporary": [(MAIL, {"state": SYN_HERE, "server": 1,
                                     "refused": [2, 0, 0, 0, 0]})]}),
    Row(about="type 7 for a SYN with another number",
        steps=[rx("back", p.notice(7, reason=1, service_port=p.MAIL, iss=p.IRS + 1), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_UNKNOWN": 1}, config=mail((2, 3)),
        before=ASKED_THERE),
    Row(about="type 7 for a SYN, nobody else: RST",
        steps=[rx("back", p.notice(7, reason=1, service_port=p.MAIL, iss=p.IRS), "redirect",
                  to_front(p.answer("RA", seq=0, ack=p.IRS + 1, by_port=p.MAIL)))],
        counts={"FRAMES_RECEIVED": 1, "CHOSEN_AGAIN": 1, "DROP_NO_SERVER": 1, "RST_SENT": 1},
        config=mail((2,)), before=ASKED_THERE, after={"temporary": []}),
    Row(about="type 2 with a SYN, and nobody listens: type 7 at once",
        steps=[Step(hook="inward", where="front", frame=_inner(_SYN), verdict="shot",
                    sent=(to_back(told(7, constant("IPOS_REFUSE_NO_LISTENER"),
                                       service_port=p.MAIL, iss=p.IRS)),))],
        counts={"DROP_NOT_ADOPTED": 1, "REFUSED": 1, "FRAMES_SENT": 1}, config=mail(), sockets=(),
        before=given(SYN_HERE, 2), after={"temporary": []}),
    Row(about="SYN again: to the same server",
        steps=[rx("front", p.from_router(_SYN), "redirect", to_back(p.sent_packet(_SYN)))],
        counts={"SYN_FORWARDED": 1, "FORWARDED": 1}, config=mail((3, 2)), before=_THERE),
    Row(about="SYN again, the server is down: to another",
        steps=[rx("front", p.from_router(_SYN), "redirect",
                  to_back(p.sent_packet(_SYN, to=p.MAC3, endpoint=p.S3)))],
        counts={"SYN_FORWARDED": 1, "FORWARDED": 1}, before=_THERE,
        config=mail((2, 3), states=((2, "DOWN"),)),
        after={"temporary": [(MAIL, {"state": SYN_THERE, "server": 3})]}),
    Row(about="SYN on connection, no server ready: RST",
        steps=[rx("front", p.from_router(_SYN), "redirect",
                  to_front(p.answer("RA", seq=0, ack=p.IRS + 1, by_port=p.MAIL)))],
        counts={"DROP_NO_SERVER": 1, "RST_SENT": 1}, config=mail((2,), states=((2, "MAINT"),))),
    Row(about="ACK before the owner has told: goes where the SYN went",
        steps=[rx("front", p.from_router(_ACK), "redirect", to_back(p.sent_packet(_ACK)))],
        counts={"FORWARDED": 1}, config=mail((2,)), before=_THERE),
    Row(about="type 3 for a SYN that was given away: Forward",
        steps=[rx("back", p.notice(3, service_port=p.MAIL), "drop")],
        counts={"FRAMES_RECEIVED": 1, "ACKNOWLEDGED": 1}, config=mail((2,)), before=_THERE,
        traffic={2: (1, 0)},
        after={"temporary": [], "forward": [(MAIL, {"acknowledged": 1, "server": 2, "iss": p.ISS,
                                                    "irs": p.IRS})]}),
    Row(about="type 3 from another than the SYN went to",
        steps=[rx("back", p.notice(3, service_port=p.MAIL, by=p.MAC3), "drop")],
        counts={"FRAMES_RECEIVED": 1, "DROP_FRAME_UNKNOWN": 1}, config=mail((2,)), before=_THERE),
    Row(about="SYN, decided for here: our listener gets it",
        steps=[rx("front", p.from_router(_SYN), "to kernel", adopted="SYN")], counts={},
        config=mail(), after={"temporary": [(MAIL, {"state": SYN_HERE, "server": 1})]}),
    Row(about="SYN, decided for here, nobody listens: to another server",
        steps=[rx("front", p.from_router(_SYN), "redirect", to_back(p.sent_packet(_ANEW)))],
        counts={"DROP_NOT_ADOPTED": 1, "CHOSEN_AGAIN": 1, "SYN_FORWARDED": 1, "FORWARDED": 1},
        config=mail((1, 2)), sockets=(),
        after={"temporary": [(MAIL, {"state": SYN_THERE, "server": 2,
                                     "refused": [1, 0, 0, 0, 0]})]}),
    Row(about="the ACK of a handshake here, and its socket: Local",
        steps=[rx("front", p.from_router(_ACK), "to kernel"),
               Establishes(socket=_MAIL_SOCKET)],
        counts={"ADOPTED": 1, "SERVED_HERE": 1}, config=mail(), before=given(SYN_HERE, 1),
        traffic={1: (1, 0)},
        after={"temporary": [], "local": [(MAIL, {**_MAIL_ROW, "first": 1, "giver": 1})]}),
    Row(about="type 2 with a SYN: on front's ingress",
        steps=[rx("back", p.packet(_SYN, endpoint_port=p.APPLICATION), "redirect",
                  into_front(_inner(_SYN)))],
        counts={"FRAMES_RECEIVED": 1, "DECAPSULATED": 1}, config=mail(), after=given(SYN_HERE, 2)),
    Row(about="and there: our listener gets it",
        steps=[Step(hook="inward", where="front", frame=_inner(_SYN), verdict="ok",
                    adopted="SYN")],
        counts={}, config=mail(), before=given(SYN_HERE, 2)),
    Row(about="type 2 with the ACK of its handshake: a notice behind it",
        steps=[rx("back", p.packet(_ACK), "redirect", into_front(_inner(_ACK)),
                  into_front(told(3, service_port=p.MAIL, iss=0)))],
        counts={"FRAMES_RECEIVED": 1, "DECAPSULATED": 1}, config=mail(),
        before=given(SYN_HERE, 2)),
    Row(about="the same, of a service that selects on request by now",
        steps=[rx("back", p.packet(_ACK), "redirect", into_front(_inner(_ACK)),
                  into_front(told(3, service_port=p.MAIL, iss=0)))],
        counts={"FRAMES_RECEIVED": 1, "DECAPSULATED": 1}, config=replace(mail(), select="REQUEST"),
        before=given(SYN_HERE, 2)),
    Row(about="its socket exists, and the notice: type 3",
        steps=[Establishes(socket=_MAIL_SOCKET),
               Step(hook="inward", where="front", frame=told(3, service_port=p.MAIL, iss=0),
                    verdict="redirect", sent=(to_back(told(3, service_port=p.MAIL)),))],
        counts={"ADOPTED": 1, "FRAMES_SENT": 1}, config=mail(), before=given(SYN_HERE, 2),
        after={"temporary": [], "connect": [(MAIL, {**_MAIL_ROW, "reason": 1})]}),
    Row(about="a RST right behind its handshake: no notice of that any more, but of the end",
        steps=[rx("back", p.packet(_RESET), "to kernel", to_back(told(4, service_port=p.MAIL)),
                  left=_inner(_RESET))],
        counts={"FRAMES_RECEIVED": 1, "DECAPSULATED": 1, "CLOSED": 1, "FRAMES_SENT": 1},
        config=mail(), before={"connect": [(MAIL, {**_MAIL_ROW, "rcv_nxt": p.IRS + 1})]},
        after={"connect": [], "temporary": [(MAIL, {"state": CLOSED})]}),
    Row(about="the SYN-ACK of our kernel: an MSS that leaves room on back",
        steps=[out(p.answer("SA", seq=p.ISS, ack=p.IRS + 1, window=60_000, by_port=p.MAIL,
                            options=[("MSS", 1460), ("NOP", None), ("WScale", 7)]),
                   left=p.answer("SA", seq=p.ISS, ack=p.IRS + 1, window=60_000, by_port=p.MAIL,
                                 options=[("MSS", 1432), ("NOP", None), ("WScale", 7)]))],
        counts={}, config=mail()),
    Row(about="the SYN-ACK of our kernel with a small MSS: untouched",
        steps=[out(p.answer("SA", seq=p.ISS, ack=p.IRS + 1, window=60_000, by_port=p.MAIL,
                            options=[("MSS", 536)]))],
        counts={}, config=mail()),
]  # fmt: skip

ROWS = [*CLOSE, *ON_CONNECTION]
