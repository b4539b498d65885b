# SPDX-License-Identifier: Apache-2.0
"""The native library against `spec.requests.given`: connections that live at another server.

A first server with a row of Forward hears notices in any order, from anybody, about this connection
and others. A server that has given a connection on is sent its packets, and offers of it.
"""

from __future__ import annotations

import random
from dataclasses import replace

from ipos.abi.layout import constant
from ipos.wire import PacketType, ethernet, packets
from spec.requests import given
from spec.requests.given import Answer, Fate, Given, Left, Notice, Told, Way
from tests.support.golden import offers
from tests.support.golden import packets as golden
from tests.support.golden.machine import (
    NOW_NS,
    SERVERS,
    SIZES,
    Config,
    NativeMachine,
    configure,
    network,
)
from tests.support.golden.rows_close import SENT
from tests.support.golden.rows_handshake import KEY
from tests.support.golden.rows_migration import HEAD_END, HELD_ROW, UNKNOWN
from tests.support.golden.rows_request import forward

OTHERS = sorted(set(SERVERS) - {1})
NOTICES = 6
_ENDS = {constant("IPOS_TEMP_CLOSED"): Fate.CLOSED, constant("IPOS_TEMP_RESET"): Fate.RESET}
_EVERY = Config(decide="REQUEST")


def run(seed: int, count: int) -> tuple[int, list[str]]:
    """So many connections; how many there were, and what differed."""
    rng = random.Random(seed)
    found: list[str] = []
    done = 0
    while done < count and len(found) < 20:
        machine = NativeMachine(SIZES)
        configure(machine, replace(_EVERY, locates=rng.choice((0, 100))))
        judge = rng.choice((_notices, _packet, _offer))
        try:
            told = judge(rng, machine)
        finally:
            machine.close()
        done += 1
        if told:
            found.append(f"connection {done} of seed {seed}: {told}")
    return done, found


# ---- the first server ----------------------------------------------------------------------------


def _given(rng: random.Random) -> Given:
    acknowledged = rng.random() < 0.5
    return Given(
        owner=rng.choice(OTHERS),
        iss=golden.ISS,
        acknowledged=acknowledged,
        migration=rng.choice((1, 7, 0x7FFF, 0xFFFF, 0x1_0000, 0x1234_FFFE)),
        last=SENT,
        last_syn=rng.choice((0, 0, golden.IRS)),
        ours=not acknowledged and rng.random() < 0.4,
    )


def _row(row: Given) -> dict[str, object]:
    address, _ = SERVERS[row.owner]
    return forward(
        server=row.owner, destination_ip=network(address), acknowledged=int(row.acknowledged),
        iss=row.iss, migration=row.migration, client_ack=row.last, last_syn=row.last_syn,
    )  # fmt: skip


def _told(rng: random.Random, row: Given) -> tuple[Told, bytes]:
    """A notice, and its frame."""
    notice = rng.choice(list(Notice))
    by = row.owner if rng.random() < 0.7 and row.owner in OTHERS else rng.choice(OTHERS)
    about = row.iss if rng.random() < 0.9 else rng.choice((row.iss + 1, 0))
    if notice is Notice.UNKNOWN:
        about = rng.choice((row.last, row.last, golden.IRS, row.last - 1, 0))
    to = rng.choice((*SERVERS, None)) if notice is Notice.MOVED else None
    number = 0
    if notice is Notice.MOVED:
        number = (row.migration + rng.choice((1, 1, 1, 2, 0x7FFF, 0x8000, 0, -1))) & 0xFFFF
    elif notice is Notice.TAKEN:
        number = (row.migration + rng.choice((0, 0, 0, 1, -1, 0x100, 0x1_0000))) & 0xFFFF
    reason = number
    if notice is Notice.UNKNOWN:
        reason = UNKNOWN
    elif notice is Notice.REFUSED:
        reason = constant("IPOS_REFUSE_NOT_ADOPTED")
    kind = 7 if notice is Notice.UNKNOWN else notice.value
    assert isinstance(kind, int)
    frame = golden.notice(
        kind, by=SERVERS[by][1], iss=about, reason=reason,
        endpoint="192.0.2.77" if to is None else SERVERS[to][0],
    )  # fmt: skip
    return Told(notice, by, about, to, number), frame


def _notices(rng: random.Random, machine: NativeMachine) -> str:
    row = _given(rng)
    machine.table("forward")[KEY] = _row(row)
    if not row.acknowledged:
        machine.table("holding")[KEY] = {**HELD_ROW, "chunks": [], "moving": int(row.ours)}
    for _ in range(NOTICES):
        told, frame = _told(rng, row)
        wanted, after = given.heard(
            row, told, locates=bool(machine.table("settings")[0]["locates"])
        )
        ran = machine.xdp(frame, "back")
        said = _fate(machine, row, told, ran.verdict)
        if said != (wanted, after):
            return f"{told} to {row}: oracle {wanted, after}, core {said}"
        if after is None or wanted in (Fate.OURS, Fate.AGAIN):
            return ""
        row = after
    return ""


def _fate(
    machine: NativeMachine, before: Given, told: Told, verdict: str
) -> tuple[Fate, Given | None]:
    """What the tables say has become of the row."""
    if verdict == "pass":  # tc goes on from here
        return (Fate.AGAIN if told.notice is Notice.REFUSED else Fate.OURS), before
    now = machine.table("forward").get(KEY)
    if now is None:
        ended = machine.table("temporary").get(KEY)
        return _ENDS[ended["state"]] if ended else Fate.FORGOTTEN, None
    after = Given(
        owner=now["server"], iss=now["iss"], acknowledged=bool(now["acknowledged"]),
        migration=now["migration"], last=now["client_ack"], last_syn=now["last_syn"],
        ours=before.ours,
    )  # fmt: skip
    if after.acknowledged and KEY in machine.table("holding"):
        raise AssertionError("what was held of a connection that was taken has not gone back")
    if after == before:
        return Fate.KEPT, after
    return (Fate.TAKEN if after.migration == before.migration else Fate.MOVED), after


# ---- who has given it on -------------------------------------------------------------------------


def _left(rng: random.Random) -> Left:
    first = rng.choice(OTHERS)
    return Left(
        first=first,
        owner=rng.choice((0, *OTHERS, *OTHERS)),
        iss=golden.ISS,
        migration=rng.choice((1, 7, 0x1_0000)),
        told_ns=NOW_NS - rng.choice((0, 49, 50, 51, 999, 1000, 1001)) * 1_000_000,
    )


def _write(machine: NativeMachine, left: Left) -> None:
    address = SERVERS[left.owner][0] if left.owner else "0.0.0.0"
    machine.table("left_behind")[KEY] = {
        "told_ns": left.told_ns, "migration": left.migration, "iss": left.iss,
        "destination_ip": network(address), "destination_port": golden.APPLICATION,
        "server": left.owner, "first": left.first,
    }  # fmt: skip


def _packet(rng: random.Random, machine: NativeMachine) -> str:
    left = _left(rng)
    _write(machine, left)
    by, ttl = rng.choice(OTHERS), rng.choice((1, 2, 64))
    data = rng.choice((b"", golden.HEAD))
    inner = golden.ip("PA", data, seq=HEAD_END, ack=SENT, ttl=ttl)
    wanted = given.strayed(left, by, len(data), ttl, NOW_NS)
    ran = machine.xdp(golden.packet(inner, by=SERVERS[by][1]), "back")
    if ran.verdict == "drop":
        said = Way.LOOP
    else:
        assert ran.redirected is not None
        sent = ethernet.decode(ran.redirected.frame, golden.FRAME_KEY)
        said = _way(sent.packet)
        to = left.owner if said is Way.ON else by
        if sent.destination_mac != bytes.fromhex(SERVERS[to][1].replace(":", "")):
            return f"{said} went to {sent.destination_mac.hex()} and not to {to}"
    return "" if said is wanted else f"{left}, by {by}: oracle {wanted}, core {said}"


def _way(packet: packets.Packet) -> Way:
    if isinstance(packet, packets.NoticePacket):
        return Way.TOLD if packet.header.type is PacketType.MOVED else Way.DENIED
    return Way.ON


def _offer(rng: random.Random, machine: NativeMachine) -> str:
    left = _left(rng) if rng.random() < 0.6 else None
    row = _given(rng) if rng.random() < 0.6 else None
    if left is not None:
        _write(machine, left)
    if row is not None:
        machine.table("forward")[KEY] = _row(row)
    live = rng.random() < 0.6
    migration = rng.choice((1, 2, 6, 7, 8, 0x1_0000, 0x1_0001))
    iss = golden.ISS if rng.random() < 0.8 else golden.ISS + 9
    by = rng.choice(OTHERS)
    frame = offers.connection(
        to=golden.BACK, by=SERVERS[by][1], iss=iss, migration=migration, endpoint=golden.SERVICE,
        rcv_nxt=HEAD_END if live else None, snd_nxt=SENT if live else None,
    )  # fmt: skip
    wanted = given.offered(left, row, iss, migration, live)
    ran = machine.xdp(frame, "back")
    said = Answer.COMES
    if ran.redirected is not None:
        told = ethernet.decode(ran.redirected.frame, golden.FRAME_KEY).packet
        taken = told.header.type is PacketType.ACKNOWLEDGEMENT
        said = Answer.TAKEN if taken else Answer.REFUSED
    owned = KEY in machine.table("connect") or KEY in machine.table("local")
    if said is not wanted or owned != (said is Answer.COMES):
        return f"{left}, {row}, offer {migration} {live=}: oracle {wanted}, core {said}, {owned=}"
    return ""
