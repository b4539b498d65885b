# SPDX-License-Identifier: Apache-2.0
"""SYNs, cookies, and what an endpoint without a request answers."""

from __future__ import annotations

import itertools
from typing import Any

from ipos.abi.layout import constant
from tests.support.golden import packets as p
from tests.support.golden.machine import Config, connection_key
from tests.support.golden.row import Row, rx, to_front

KEY = connection_key()
OPEN, CLOSED = constant("IPOS_TEMP_OPEN"), constant("IPOS_TEMP_CLOSED")
RESET = constant("IPOS_TEMP_RESET")
HANDSHAKE: dict[str, Any] = {
    "iss": p.ISS, "irs": p.IRS, "mss": p.CLIENT_MSS, "snd_wscale": p.CLIENT_SCALE,
    "options": p.SACK | p.STAMPS | p.SCALE, "ts_recent": p.TS_LATER, "ts_sent": p.OUR_TS,
}  # fmt: skip
BARE: dict[str, Any] = {
    "iss": p.ISS_BARE, "irs": p.IRS, "mss": 536, "snd_wscale": 0, "options": 0,
    "ts_recent": 0, "ts_sent": 0,
}  # fmt: skip
OPENED = {"hs": HANDSHAKE, "state": OPEN}
ENDED = {"hs": HANDSHAKE, "state": CLOSED, "client_end": p.IRS + 2}
WAS_RESET = {"hs": HANDSHAKE, "state": RESET, "client_end": p.IRS + 1}


def _matrix() -> list[Row]:
    """What must hold of the option matrix: each SYN-ACK, then the ACK that proves its cookie."""
    rows = []
    for mss, scale, sack, stamps in itertools.product(
        (536, 1220, 1460), (None, 0, 7, 14), (True, False), (True, False)
    ):
        iss, value = p.cookie(mss=mss, scale=scale, sack=sack, stamps=stamps)
        agreed = sack * p.SACK | stamps * p.STAMPS | (scale is not None) * p.SCALE
        rows.append(
            Row(
                about=f"options: MSS {mss}, scale {scale}, SACK {sack}, timestamps {stamps}",
                steps=[
                    rx("front", p.syn(p.syn_options(mss, scale, sack, stamps)), "redirect",
                       to_front(p.syn_ack(mss=mss, scale=scale, sack=sack, stamps=stamps))),
                    rx("front", p.client("A", ack=iss + 1,
                                         options=p.echo(echoed=value) if stamps else []), "drop"),
                ],
                counts={"SYN_ACK": 1, "COOKIE_ACCEPTED": 1, "ABSORBED": 1},
                after={"temporary": [(KEY, {"state": OPEN, "hs": {
                    "iss": iss, "irs": p.IRS, "mss": mss, "snd_wscale": scale or 0,
                    "options": agreed, "ts_recent": p.TS_LATER if stamps else 0,
                    "ts_sent": value,
                }})]},
            )
        )  # fmt: skip
    return rows


def _orders() -> list[Row]:
    """SYNs as Linux and as Windows send them, which are answered in place, and their neighbours."""
    nop: tuple[str, Any] = ("NOP", None)
    sack: tuple[str, Any] = ("SAckOK", b"")
    stamps: tuple[str, Any] = ("Timestamp", (p.TS, 0))

    def unknown(data: bytes) -> Any:
        return 254, data

    def windows(mss: int, scale: int) -> list[tuple[str, Any]]:
        return [("MSS", mss), nop, ("WScale", scale), nop, nop, sack]

    def row(about: str, syn: bytes, **answer: Any) -> Row:
        return Row(about=about, steps=[rx("front", syn, "redirect", to_front(p.syn_ack(**answer)))],
                   counts={"SYN_ACK": 1})  # fmt: skip

    rows = [
        row("SYN, Windows", p.syn(windows(1460, 8)), mss=1460, scale=8, stamps=False),
        row("SYN, Windows: a small MSS", p.syn(windows(400, 0)), mss=536, scale=0, stamps=False),
        row("SYN, Linux: a small MSS, a large scale", p.syn(p.syn_options(400, 200)),
            mss=536, scale=14),
        row("SYN, Linux: bytes behind it", p.syn() + b"none of the packet"),
        row("SYN, Windows: with ECN, without timestamps", p.syn(windows(1460, 8), "SEC"),
            mss=1460, scale=8, stamps=False),
        row("SYN, Linux's with another last option",
            p.syn([("MSS", 1460), sack, stamps, nop, unknown(b"\7")]), mss=1460, scale=None),
        row("SYN, Windows' with another last option",
            p.syn([("MSS", 1460), nop, ("WScale", 8), nop, nop, unknown(b"")]),
            mss=1460, scale=8, sack=False, stamps=False),
        row("SYN, macOS", p.syn([("MSS", 1460), nop, ("WScale", 6), nop, nop, stamps, sack]),
            mss=1460, scale=6),
    ]  # fmt: skip
    for name, options in (("Linux", p.syn_options()), ("Windows", windows(1460, 8))):
        right = p.ip("S", seq=p.IRS, options=options)
        no_sum = bytes(right)[:10] + b"\1\2" + bytes(right)[12:]
        for what, packet in (("TCP", p.wrong_checksum(right)), ("IP", no_sum)):
            rows.append(
                Row(about=f"SYN, {name}: a wrong {what} checksum", counts={"DROP_BAD_CHECKSUM": 1},
                    steps=[rx("front", p.from_router(packet), "drop")])
            )  # fmt: skip
    return rows


def _withheld() -> list[Row]:
    """What some server's kernel cannot take is offered to nobody: as if it had not been asked."""
    rows = []
    for scaled, sack, stamps in itertools.product((True, False), repeat=3):
        scale = 7 if scaled else None
        off = (not sack) * p.SACK | (not stamps) * p.STAMPS | (not scaled) * p.SCALE
        rows.append(
            _syn_ack(f"withheld options: {off}", p.syn(p.syn_options(1460, 7)),
                     p.syn_ack(mss=1460, scale=scale, sack=sack, stamps=stamps), withheld=off)
        )  # fmt: skip
    return rows


def _syn_ack(about: str, frame: bytes, answer: bytes, **config: Any) -> Row:
    return Row(
        about=about, steps=[rx("front", frame, "redirect", to_front(answer))],
        counts={"SYN_ACK": 1}, config=Config(**config),
    )  # fmt: skip


_BACKWARDS: list[tuple[str, Any]] = [
    ("WScale", 3),
    ("NOP", None),
    ("Timestamp", (p.TS, 0)),
    ("MSS", 1400),
]
_BROKEN: list[tuple[Any, Any]] = [("MSS", 1300), (3, b"")]
_UNKNOWN: list[tuple[Any, Any]] = [  # MPTCP, Fast Open
    (30, b"\0\x81" + bytes(8)),
    ("MSS", 1460),
    ("NOP", None),
    ("NOP", None),
    (34, b""),
]
SYNS = [
    *_orders(), *_withheld(), *_matrix(),
    _syn_ack("SYN without options", p.syn([]),
             p.syn_ack(mss=536, scale=None, sack=False, stamps=False)),
    _syn_ack("SYN with options in another order", p.syn(_BACKWARDS),
             p.syn_ack(mss=1400, scale=3, sack=False)),
    _syn_ack("SYN with MPTCP and Fast Open: the classic options", p.syn(_UNKNOWN),
             p.syn_ack(mss=1460, scale=None, sack=False, stamps=False)),
    _syn_ack("SYN with a window scale of 15: 14 counts", p.syn(p.syn_options(scale=15)),
             p.syn_ack(scale=14)),
    _syn_ack("SYN with an MSS of 100: 536 counts", p.syn(p.syn_options(mss=100)),
             p.syn_ack(mss=536)),
    _syn_ack("SYN with an MSS of 9000 and timestamps: exact", p.syn(p.syn_options(mss=9000)),
             p.syn_ack(mss=9000)),
    _syn_ack("SYN with an MSS of 1459 and no timestamps: the table's 1400",
             p.syn(p.syn_options(mss=1459, stamps=False)), p.syn_ack(mss=1400, stamps=False)),
    _syn_ack("SYN with ECN and timestamps", p.syn(flags="SEC"), p.syn_ack(ecn=True)),
    _syn_ack("SYN with ECN and no timestamps: no ECN",
             p.syn(p.syn_options(stamps=False), flags="SEC"), p.syn_ack(stamps=False)),
    _syn_ack("SYN with accurate ECN: no ECN", p.syn(flags="SECN"), p.syn_ack()),
    _syn_ack("SYN with data: the data is not acknowledged", p.syn(data=b"GET / HTTP/1.1\r\n\r\n"),
             p.syn_ack()),
    _syn_ack("SYN with PSH and URG", p.syn(flags="SPU"), p.syn_ack()),
    _syn_ack("SYN with a broken option list: what stood before counts",
             p.syn(_BROKEN),
             p.syn_ack(mss=1300, scale=None, sack=False, stamps=False)),
    _syn_ack("SYN in the front's VLAN", p.syn(vlan=p.VLAN), p.syn_ack(vlan=p.VLAN),
             front_vlan=p.VLAN),
    _syn_ack("SYN on one LAN for front and back", p.syn(), p.syn_ack(), one_lan=True),
    _syn_ack("SYN while only another server is ready", p.syn(), p.syn_ack(),
             states=((1, "DRAIN"),), candidates=(1, 2)),
    Row(about="SYN, no server ready: RST",
        steps=[rx("front", p.syn(), "redirect",
                  to_front(p.answer("RA", seq=0, ack=p.IRS + 1)))],
        counts={"DROP_NO_SERVER": 1, "RST_SENT": 1}, config=Config(states=((1, "DOWN"),))),
    Row(about="SYN, the pool is empty: RST",
        steps=[rx("front", p.syn(), "redirect",
                  to_front(p.answer("RA", seq=0, ack=p.IRS + 1)))],
        counts={"DROP_NO_SERVER": 1, "RST_SENT": 1}, config=Config(candidates=())),
    Row(about="SYN, no cookie key of this epoch: RST",
        steps=[rx("front", p.syn(), "redirect",
                  to_front(p.answer("RA", seq=0, ack=p.IRS + 1)))],
        counts={"DROP_NO_SERVER": 1, "RST_SENT": 1}, config=Config(key_epochs=())),
    Row(about="SYN in another VLAN than front's: not ours",
        steps=[rx("front", p.syn(vlan=p.VLAN + 1), "to kernel")], counts={"PASSED": 1}),
    Row(about="SYN, untagged where front has a VLAN: not ours",
        steps=[rx("front", p.syn(), "to kernel")], counts={"PASSED": 1},
        config=Config(front_vlan=p.VLAN)),
    Row(about="SYN with a wrong TCP checksum",
        steps=[rx("front", p.from_router(p.wrong_checksum(
            p.ip("S", seq=p.IRS, options=p.syn_options()))), "drop")],
        counts={"DROP_BAD_CHECKSUM": 1}),
    Row(about="SYN and FIN", steps=[rx("front", p.syn(flags="SF"), "drop")],
        counts={"DROP_BAD_FLAGS": 1}),
    Row(about="SYN and ACK", steps=[rx("front", p.syn(flags="SA"), "drop")],
        counts={"DROP_BAD_FLAGS": 1}),
    Row(about="no flags at all", steps=[rx("front", p.syn(flags=""), "drop")],
        counts={"DROP_BAD_FLAGS": 1}),
    Row(about="SYN repeated after the ACK: the same cookie again",
        steps=[rx("front", p.syn(), "redirect", to_front(p.syn_ack()))],
        counts={"SYN_ACK": 1}, before={"temporary": [(KEY, OPENED)]}),
    Row(about="SYN after the end: a new connection",
        steps=[rx("front", p.syn(), "redirect", to_front(p.syn_ack()))],
        counts={"SYN_ACK": 1}, before={"temporary": [(KEY, ENDED)]}),
]  # fmt: skip


def _wrong(about: str, **fields: Any) -> Row:
    return Row(
        about=f"ACK that is no cookie: {about}",
        steps=[rx("front", p.client("A", **fields), "drop")],
        counts={"DROP_NO_COOKIE": 1},
    )


OLD, OLD_TS = p.cookie(epoch=p.EPOCH - 1)
OLDER, OLDER_TS = p.cookie(epoch=p.EPOCH - 3)
OLDER_BARE, _ = p.cookie(epoch=p.EPOCH - 2, mss=536, scale=None, sack=False, stamps=False)
OTHER, OTHER_TS = p.cookie(key=p.OTHER_COOKIE_KEY)

COOKIES = [
    Row(about="ACK with a cookie of the epoch before",
        steps=[rx("front", p.client("A", ack=OLD + 1, options=p.echo(echoed=OLD_TS)), "drop")],
        counts={"COOKIE_ACCEPTED": 1, "ABSORBED": 1},
        after={"temporary": [(KEY, {"state": OPEN})]}),
    Row(about="ACK with a cookie whose key is gone",
        steps=[rx("front", p.client("A", ack=OLD + 1, options=p.echo(echoed=OLD_TS)), "drop")],
        counts={"DROP_NO_COOKIE": 1}, config=Config(key_epochs=(p.EPOCH,))),
    Row(about="data with a cookie that is too old: its client is told",
        steps=[rx("front", p.client("PA", p.HEAD, ack=OLDER + 1,
                                    options=p.echo(echoed=OLDER_TS)), "redirect",
                  to_front(p.reset(seq=OLDER + 1)))],
        counts={"COOKIE_EXPIRED": 1, "RST_SENT": 1}),
    Row(about="the same without timestamps, of the epoch before the last",
        steps=[rx("front", p.client("PA", p.HEAD, ack=OLDER_BARE + 1, options=[]), "redirect",
                  to_front(p.reset(seq=OLDER_BARE + 1)))],
        counts={"COOKIE_EXPIRED": 1, "RST_SENT": 1}),
    Row(about="an ACK without data and with such a cookie: silence",
        steps=[rx("front", p.client("A", ack=OLDER + 1, options=p.echo(echoed=OLDER_TS)), "drop")],
        counts={"DROP_NO_COOKIE": 1}),
    Row(about="a source that has guessed wrong as often as it may: a right one is not looked at",
        steps=[*(rx("front", p.client("A", ack=wrong, options=[]), "drop") for wrong in (1, 2)),
               rx("front", p.client("A", ack=p.ISS_BARE + 1, options=[]), "drop"),
               rx("front", p.client("A"), "drop")],
        counts={"DROP_NO_COOKIE": 2, "DROP_GUESSING": 1, "COOKIE_ACCEPTED": 1, "ABSORBED": 1},
        config=Config(guesses=2), after={"temporary": [(KEY, OPENED)]}),
    _wrong("a MAC bit of the ISN", ack=(p.ISS ^ 1 << 9) + 1),
    _wrong("the epoch's parity", ack=(p.ISS ^ 1) + 1),
    _wrong("a MAC bit of the timestamp", options=p.echo(echoed=p.OUR_TS ^ 1 << 25)),
    _wrong("an option in the timestamp", options=p.echo(echoed=p.OUR_TS ^ 16)),
    _wrong("the timestamp is missing", options=[]),
    _wrong("another client port", port=p.PORT + 1),
    _wrong("another service address", to=p.S2),
    _wrong("the next sequence number", seq=p.IRS + 2),
    Row(about="ACK with a wrong TCP checksum",
        steps=[rx("front", p.from_router(p.wrong_checksum(p.ip("A"))), "drop")],
        counts={"DROP_BAD_CHECKSUM": 1}),
    Row(about="RST for a connection that nobody knows",
        steps=[rx("front", p.client("R"), "drop")], counts={"DROP_NO_COOKIE": 1}),
    Row(about="RST and ACK with a valid cookie: opens nothing",
        steps=[rx("front", p.client("RA"), "drop")], counts={"DROP_NO_COOKIE": 1}),
    Row(about="ACK with a cookie under the other key, when keys do not change",
        steps=[rx("front", p.client("A", ack=OTHER + 1, options=p.echo(echoed=OTHER_TS)), "drop")],
        counts={"DROP_NO_COOKIE": 1}),
    Row(about="ACK with a cookie under the other key, while keys change",
        steps=[rx("front", p.client("A", ack=OTHER + 1, options=p.echo(echoed=OTHER_TS)), "drop")],
        counts={"COOKIE_ACCEPTED": 1, "ABSORBED": 1}, config=Config(keys_change=True),
        after={"temporary": [(KEY, {"state": OPEN})]}),
    Row(about="ACK in the front's VLAN",
        steps=[rx("front", p.client("A", vlan=p.VLAN), "drop")],
        counts={"COOKIE_ACCEPTED": 1, "ABSORBED": 1},
        after={"temporary": [(KEY, OPENED)]}, config=Config(front_vlan=p.VLAN)),
]  # fmt: skip

UNATTACHED = [
    Row(about="FIN before any request: acknowledged and closed",
        steps=[rx("front", p.client("FA"), "redirect", to_front(p.ack(1, "FA")))],
        counts={"FIN_ANSWERED": 1}, before={"temporary": [(KEY, OPENED)]},
        after={"temporary": [(KEY, ENDED)]}),
    Row(about="FIN with the cookie, no ACK before it",
        steps=[rx("front", p.client("FA"), "redirect", to_front(p.ack(1, "FA")))],
        counts={"COOKIE_ACCEPTED": 1, "FIN_ANSWERED": 1},
        after={"temporary": [(KEY, ENDED)]}),
    Row(about="FIN before any request, and its last ACK",
        steps=[rx("front", p.client("FA"), "redirect", to_front(p.ack(1, "FA"))),
               rx("front", p.client("A", seq=p.IRS + 2, ack=p.ISS + 2), "drop")],
        counts={"FIN_ANSWERED": 1, "ABSORBED": 1}, before={"temporary": [(KEY, OPENED)]},
        after={"temporary": [(KEY, ENDED)]}),
    Row(about="FIN repeated: our FIN was lost",
        steps=[rx("front", p.client("FA"), "redirect", to_front(p.ack(1, "FA")))],
        counts={"FIN_REPEATED": 1}, before={"temporary": [(KEY, ENDED)]}),
    Row(about="FIN repeated by a client that has seen ours: acknowledged",
        steps=[rx("front", p.client("FA", ack=p.ISS + 2), "redirect",
                  to_front(p.ack(1, "A", seq=2)))],
        counts={"FIN_REPEATED": 1}, before={"temporary": [(KEY, ENDED)]}),
    Row(about="FIN ahead of data that is missing",
        steps=[rx("front", p.client("FA", seq=p.IRS + 11), "drop")],
        counts={"DROP_BAD_SEQUENCE": 1}, before={"temporary": [(KEY, OPENED)]}),
    Row(about="late duplicate of a served request: opens nothing",
        steps=[rx("front", p.client("PA", p.HEAD), "drop")],
        counts={"DROP_COOKIE_USED": 1}, before={"temporary": [(KEY, ENDED)]}),
    Row(about="late duplicate of a request we reset: reset again",
        steps=[rx("front", p.client("PA", p.HEAD), "redirect", to_front(p.reset()))],
        counts={"DROP_COOKIE_USED": 1, "RST_SENT": 1},
        before={"temporary": [(KEY, WAS_RESET)]}),
    Row(about="ACK of a request we reset: reset again",
        steps=[rx("front", p.client("A"), "redirect", to_front(p.reset()))],
        counts={"DROP_COOKIE_USED": 1, "RST_SENT": 1},
        before={"temporary": [(KEY, WAS_RESET)]}),
    Row(about="RST for a connection that has ended: silence",
        steps=[rx("front", p.client("RA", seq=p.IRS + 2), "drop")],
        counts={"ABSORBED": 1}, before={"temporary": [(KEY, ENDED)]}),
    Row(about="keepalive to an unattached endpoint",
        steps=[rx("front", p.client("A", seq=p.IRS), "redirect", to_front(p.ack()))],
        counts={"KEEPALIVE_ANSWERED": 1}, before={"temporary": [(KEY, OPENED)]}),
    Row(about="keepalive with a byte of garbage",
        steps=[rx("front", p.client("A", b"\0", seq=p.IRS), "redirect", to_front(p.ack()))],
        counts={"KEEPALIVE_ANSWERED": 1}, before={"temporary": [(KEY, OPENED)]}),
    Row(about="keepalive without timestamps",
        steps=[rx("front", p.client("A", seq=p.IRS, ack=p.ISS_BARE + 1, options=[]), "redirect",
                  to_front(p.answer("A", seq=p.ISS_BARE + 1, ack=p.IRS + 1, window=p.WINDOW)))],
        counts={"KEEPALIVE_ANSWERED": 1},
        before={"temporary": [(KEY, {"hs": BARE, "state": OPEN})]}),
    Row(about="ACK again: absorbed",
        steps=[rx("front", p.client("A"), "drop")], counts={"ABSORBED": 1},
        before={"temporary": [(KEY, OPENED)]}),
    Row(about="ACK far outside the window",
        steps=[rx("front", p.client("A", seq=p.IRS + 20_000), "drop")],
        counts={"DROP_BAD_SEQUENCE": 1}, before={"temporary": [(KEY, OPENED)]}),
    Row(about="data far outside the window",
        steps=[rx("front", p.client("PA", p.HEAD, seq=p.IRS + 20_000), "drop")],
        counts={"DROP_BAD_SEQUENCE": 1}, before={"temporary": [(KEY, OPENED)]}),
    Row(about="RST at the exact sequence number",
        steps=[rx("front", p.client("R"), "drop")], counts={"ABSORBED": 1},
        before={"temporary": [(KEY, OPENED)]},
        after={"temporary": [(KEY, {"state": CLOSED, "client_end": p.IRS + 1})]}),
    Row(about="RST at another sequence number and without our ISN",
        steps=[rx("front", p.client("R", seq=p.IRS + 9), "drop")],
        counts={"DROP_BAD_SEQUENCE": 1}, before={"temporary": [(KEY, OPENED)]}),
    Row(about="a new handshake's cookie displaces an open endpoint",
        steps=[rx("front", p.client("A", seq=p.IRS + 1001, ack=p.cookie(irs=p.IRS + 1000)[0] + 1,
                                    options=p.echo(echoed=p.cookie(irs=p.IRS + 1000)[1])), "drop")],
        counts={"COOKIE_ACCEPTED": 1, "ABSORBED": 1}, before={"temporary": [(KEY, OPENED)]},
        after={"temporary": [(KEY, {"state": OPEN})]}),
]  # fmt: skip

ROWS = [*SYNS, *COOKIES, *UNATTACHED]
