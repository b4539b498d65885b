# SPDX-License-Identifier: Apache-2.0
"""Type 1, the offer of an endpoint, built by scapy from the design alone."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from ipos.handshake.siphash import siphash128
from tests.support.golden.packets import (
    BACK,
    CLIENT_MSS,
    CLIENT_SCALE,
    FRAME_KEY,
    HEAD,
    IRS,
    ISS,
    MAC2,
    OUR_MSS,
    OUR_SCALE,
    OUR_TS,
    SACK,
    SCALE,
    SENT_S,
    SERVICE,
    STAMPS,
    TS_LATER,
    WEB,
    WINDOW,
    header,
    on_back,
    tag64,
)
from tests.support.scapy_layers import ConnectionInformation, ControlBlockV1


def connection(
    *,
    to: str = MAC2,
    by: str = BACK,
    service: str = SERVICE,
    service_port: int = WEB,
    held: int = len(HEAD),
    acknowledged: int = 0,
    iss: int = ISS,
    mss: int = CLIENT_MSS,
    scale: int = CLIENT_SCALE,
    options: int = SACK | STAMPS | SCALE,
    window: int = 502,
    ts: tuple[int, int] = (TS_LATER, OUR_TS),
    version: int = 1,
    migration: int = 0,
    request: int = 0,
    skipped: int = 0,
    rcv_nxt: int | None = None,
    snd_nxt: int | None = None,
    sent_s: int | None = None,
    first: str = "0.0.0.0",
    session: int = 0,
    tag: bytes | None = None,
    key: bytes = FRAME_KEY,
    vlan: int = 0,
    cut: int | None = None,
    **fields: Any,
) -> bytes:
    """Type 1: an endpoint that waits for the first bytes of its request."""
    rcv_nxt = (IRS + 1 if rcv_nxt is None else rcv_nxt) + acknowledged
    snd_nxt = iss + 1 if snd_nxt is None else snd_nxt
    block = ControlBlockV1(
        version=version, state=1, flags=options, iss=iss, irs=IRS, snd_una=snd_nxt,
        snd_nxt=snd_nxt, snd_max=snd_nxt, snd_wl1=rcv_nxt, snd_wl2=snd_nxt,
        snd_wnd=window << scale, rcv_nxt=rcv_nxt, rcv_wnd=WINDOW - acknowledged,
        rcv_adv=rcv_nxt - acknowledged + WINDOW, peer_mss=mss, effective_mss=min(mss, OUR_MSS),
        snd_wscale=scale, rcv_wscale=OUR_SCALE if options & SCALE else 0,
        ts_recent=ts[0], ts_last_sent=ts[1], srtt_us=session >> 32,
        rttvar_us=session & 0xFFFFFFFF, snd_cwnd_segments=10,
        snd_ssthresh_segments=0x7FFFFFFF, receive_queue_bytes=acknowledged - skipped,
        migration_number=migration, request_bytes=request,
        sent_s=SENT_S if sent_s is None else sent_s, first=int(IPv4Address(first)),
    )  # fmt: skip
    body = header(1, **fields) + bytes(ConnectionInformation(server=service, port=service_port))
    body += bytes(block)[:124]
    told = siphash128(key, body).to_bytes(16, "little") if tag is None else tag
    return on_back((body + told)[:cut], to, by, vlan, shortest=0)


def without_migration(frame: bytes) -> bytes:
    """A type 1 or 10 with its times, which differ, and its tag checked and cleared."""
    at = 18 if frame[12:14] == b"\x81\x00" else 14
    if frame[at - 2 : at] == b"\x00\x07" and frame[at + 12] == 10:
        return _without_time(frame, at)
    if frame[at - 2 : at] != b"\x00\x07" or len(frame) < at + 162 or frame[at + 12] != 1:
        return frame
    told = siphash128(FRAME_KEY, frame[at : at + 146]).to_bytes(16, "little")
    valid = told == frame[at + 146 : at + 162]
    plain = bytearray(frame)
    plain[at + 22 + 96 : at + 22 + 104] = bytes(8)
    sent_s = int.from_bytes(plain[at + 22 + 116 : at + 22 + 120], "big")
    if 0 <= sent_s - SENT_S <= 2:
        plain[at + 22 + 116 : at + 22 + 120] = SENT_S.to_bytes(4, "big")
    plain[at + 146 : at + 162] = b"the tag is right" if valid else b"the tag is wrong"
    return bytes(plain)


def _without_time(frame: bytes, at: int) -> bytes:
    """A type 10, whose header is at `at`."""
    plain = bytearray(frame)
    valid = tag64(frame[at : at + 28]) == frame[at + 28 : at + 36]
    if 0 <= int.from_bytes(plain[at + 24 : at + 28], "big") - SENT_S <= 2:
        plain[at + 24 : at + 28] = SENT_S.to_bytes(4, "big")
    plain[at + 28 : at + 36] = b"is right" if valid else b"is wrong"
    return bytes(plain)
