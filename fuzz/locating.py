# SPDX-License-Identifier: Apache-2.0
"""The native library against `spec.requests.locating`: packets of unknown connections.

One server is asked about a few connections in any order and at any time, and hears answers that are
right, late, of another question or of another server. One has got another server's address, and
requests come to it whose cookies that one gave. And an owner judges what comes in questions.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

from native.values import Socket
from spec.requests import locating
from spec.requests.locating import MS, Asker, Verdict, Without, asked
from tests.support.golden import locates
from tests.support.golden import packets as golden
from tests.support.golden.machine import (
    LISTENER,
    NOW_NS,
    SIZES,
    WALL_NS,
    Config,
    NativeMachine,
    configure,
)
from tests.support.golden.rows_close import SENT, mine
from tests.support.golden.rows_handshake import KEY, OPENED
from tests.support.golden.rows_idle import IDLE
from tests.support.golden.rows_migration import HEAD_END
from tests.support.golden.rows_request import HOLDING, SOCKET

_PAUSES = (0, 1, 20, 49, 50, 51, 200, 400, 900, 1_001, 3_000, 9_000, 10_000, 12_000)
_STEPS = 40
_COOKIES_NS = 16_000 * MS
"""So long a cookie of this moment opens a connection at least."""
_ACK, _RST = "A", "R"
_SERVERS = {2: (golden.MAC2, golden.S2), 3: (golden.MAC3, golden.S3)}


def run(seed: int, count: int) -> tuple[int, list[str]]:
    """At least so many packets; how many there were, and what differed."""
    rng = random.Random(seed)
    found: list[str] = []
    done = 0
    while done < count and len(found) < 20:
        machine = NativeMachine({**SIZES, "forward": 64})
        try:
            steps, told = rng.choice((_asks, _asks, _takes_over, _owns, _keeps))(rng, machine)
        finally:
            machine.close()
        done += steps
        if told:
            found.append(f"packet {done} of seed {seed}: {told}")
    return done, found


def _asks(rng: random.Random, machine: NativeMachine) -> tuple[int, str]:
    config = Config(
        locates=rng.choice((1, 3, 100)), locates_source=rng.choice((1, 2, 100)),
        all_answer=rng.random() < 0.7,
    )  # fmt: skip
    configure(machine, config)
    machine.listen([LISTENER])
    asker = Asker(config.locates, config.locates_source, config.all_answer)
    verdicts: Counter[Verdict] = Counter()
    others: Counter[str] = Counter()
    now = NOW_NS
    sent: list[tuple[int, int]] = []
    for step in range(1, _STEPS + 1):
        now += rng.choice(_PAUSES) * MS
        machine.node.clock(now)
        connection = rng.randrange(3)
        if sent and rng.random() < 0.2:
            told = _answer(rng, machine, asker, sent, others, now)
        elif connection in asker.owners:
            continue
        else:
            told = _packet(rng, machine, asker, connection, sent, verdicts, now)
        if told:
            return step, told
        told = _differs(machine, asker, verdicts, others)
        if told:
            return step, told
    return _STEPS, ""


def _takes_over(rng: random.Random, machine: NativeMachine) -> tuple[int, str]:
    """Connections by their cookies: each is asked about before it opens, and opens once."""
    config = Config(
        locates=rng.choice((1, 3, 100)), locates_source=rng.choice((1, 2, 100)),
        all_answer=rng.random() < 0.7, asks=True, candidates=(2,),
    )  # fmt: skip
    configure(machine, config)
    machine.listen([LISTENER])
    asker = Asker(config.locates, config.locates_source, config.all_answer)
    verdicts: Counter[Verdict] = Counter()
    others: Counter[str] = Counter()
    now = NOW_NS
    sent: list[tuple[int, int]] = []
    for step in range(1, _STEPS + 1):
        now += rng.choice(_PAUSES) * MS
        if now - NOW_NS > _COOKIES_NS:
            return step, ""
        machine.node.clock(now)
        connection = rng.randrange(3)
        if sent and rng.random() < 0.2:
            told = _answer(rng, machine, asker, sent, others, now)
        elif connection in asker.owners:
            continue
        else:
            told = _request(machine, asker, connection, sent, verdicts, now)
        told = told or _differs(machine, asker, verdicts, others)
        if told or verdicts[Verdict.OPENS]:  # tc goes on with it
            return step, told
    return _STEPS, ""


def _differs(
    machine: NativeMachine, asker: Asker, verdicts: Counter[Verdict], others: Counter[str]
) -> str:
    wanted = {**asker.counted(verdicts), **{n: c for n, c in others.items() if c}}
    counted = machine.counters()
    if counted != wanted:
        return f"counters: oracle {wanted}, core {counted}"
    there = {key["client_port"] - golden.PORT: row["server"]
             for key, row in machine.table("forward").items()}  # fmt: skip
    return "" if there == asker.owners else f"owners: oracle {asker.owners}, core {there}"


def _request(
    machine: NativeMachine, asker: Asker, connection: int, sent: list[tuple[int, int]],
    verdicts: Counter[Verdict], now: int,
) -> str:  # fmt: skip
    """The first one of a connection, by a cookie that another server gave."""
    port = golden.PORT + connection
    iss, value = golden.cookie(port=port)
    inner = golden.ip("PA", golden.HEAD, ack=iss + 1, port=port,
                      options=golden.echo(echoed=value))  # fmt: skip
    verdict = asker.request(connection, now)
    verdicts[verdict] += 1
    told = _asked(machine, asker, connection, inner, verdict, sent, now)
    opens = any(key["client_port"] == port for key, _ in machine.table("temporary").items())
    if opens != (verdict is Verdict.OPENS):
        return f"{connection}: oracle {verdict}, core opens it: {opens}"
    return told


def _asked(
    machine: NativeMachine, asker: Asker, connection: int, inner: bytes, verdict: Verdict,
    sent: list[tuple[int, int]], now: int,
) -> str:  # fmt: skip
    """Have the core judge a packet; how its question differs from the oracle's."""
    ran = machine.xdp(golden.from_router(inner), "front")
    asked = ran.redirected is not None and ran.redirected.frame[:6] == b"\xff" * 6
    if asked != (verdict is Verdict.ASKED):
        return f"{connection}: oracle {verdict}, core {ran.verdict}"
    if asked and ran.redirected is not None:
        second = (WALL_NS - NOW_NS + now) // 1_000_000_000
        whole = locates.locate(inner, port=golden.PORT + connection,
                               endpoint_port=second & 0xFFFF)  # fmt: skip
        if ran.redirected.frame != whole:
            return f"question: oracle {whole.hex()}, core {ran.redirected.frame.hex()}"
        asker.questions[connection].number = locates.question_of(whole)
        sent.append((connection, locates.question_of(whole)))
    return ""


def _packet(
    rng: random.Random, machine: NativeMachine, asker: Asker, connection: int,
    sent: list[tuple[int, int]], verdicts: Counter[Verdict], now: int,
) -> str:  # fmt: skip
    flags = _RST if rng.random() < 0.15 else _ACK
    data = b"x" * rng.choice((0, 0, 9, 1_400)) if flags == _ACK else b""
    inner = golden.ip(flags, data, seq=HEAD_END, ack=SENT, port=golden.PORT + connection)
    verdict = asker.packet(connection, now, reset=flags == _RST)
    verdicts[verdict] += 1
    return _asked(machine, asker, connection, inner, verdict, sent, now)


def _answer(
    rng: random.Random, machine: NativeMachine, asker: Asker, sent: list[tuple[int, int]],
    others: Counter[str], now: int,
) -> str:  # fmt: skip
    connection, number = rng.choice(sent)
    if rng.random() < 0.2:
        number ^= 1 << rng.randrange(32)
    server = rng.choice(tuple(_SERVERS))
    mac, address = _SERVERS[server]
    taken = asker.answered(connection, number, server, now)
    machine.xdp(locates.located(number, by=mac, endpoint=address, port=golden.PORT + connection),
                "back")  # fmt: skip
    others["FRAMES_RECEIVED"] += 1
    others["LOCATED" if taken else "DROP_FRAME_UNKNOWN"] += 1
    return ""


def _owns(rng: random.Random, machine: NativeMachine) -> tuple[int, str]:
    def about(number: int, span: int) -> int:
        return number + rng.choice((0, 0, 1, -1, span, -span, span + 1, -span - 1, 1 << 31,
                                    rng.randrange(-(1 << 31), 1 << 31)))  # fmt: skip

    configure(machine, Config())
    window = rng.choice((500, 65_535))
    una = SENT - rng.choice((0, 100))
    socket: Socket | None = replace(
        SOCKET, rcv_nxt=HEAD_END, snd_nxt=SENT, snd_una=una, max_window=window
    )
    if rng.random() < 0.1:
        socket = None
    machine.listen([LISTENER, socket] if socket else [LISTENER])
    endpoint: dict[str, Any] = mine(first=3)
    for key, row in endpoint["connect"]:
        machine.table("connect")[key] = row
    flags = rng.choice(("A", "A", "PA", "R", "RA", "P"))
    seq = about(HEAD_END, locating.CLIENT_WINDOW) % 2**32
    ack = about(SENT, window) % 2**32
    inner = golden.ip(flags, seq=seq, ack=ack)
    ran = machine.xdp(locates.asked(inner), "back")
    passed = machine.ingress(ran.frame, "back")
    stands = locating.Socket(HEAD_END, una, SENT, window) if socket else None
    reset = "R" in flags
    fits = locating.fits(stands, seq, ack if "A" in flags else None, reset=reset)
    said = machine.table("connect")[KEY]
    answered = machine.counters().get("LOCATE_ANSWERED", 0)
    given = any(out.inward for out in (*passed.clones, passed.redirected) if out)
    if (given, answered, said["first"]) != (fits, int(fits and not reset),
                                            2 if fits and not reset else 3):  # fmt: skip
        return 1, f"{flags} {seq:#x} {ack:#x} for {stands}: oracle {fits}, core {given}, {said}"
    return 1, ""


def _keeps(rng: random.Random, machine: NativeMachine) -> tuple[int, str]:
    """A question about a connection that has no application here."""
    configure(machine, Config(locates=8))
    what = rng.choice(tuple(Without))
    sent = SENT if what is Without.KEPT else golden.ISS + 1
    table, row = {
        Without.NOTHING: ("temporary", None),
        Without.HANDSHAKE: ("temporary", OPENED),
        Without.PART: ("holding", {**HOLDING, "acknowledged": 0}),
        Without.KEPT: ("holding", IDLE),
    }[what]
    if row is not None:
        machine.table(table)[KEY] = row
    flags = rng.choice(("A", "PA", "FA", "R", "RA", "P"))
    ack = rng.choice((sent, sent, sent + 1, sent - 1, rng.randrange(1 << 32)))
    data = rng.choice((b"", b"more of it"))
    inner = golden.ip(flags, data, seq=rng.randrange(1 << 32), ack=ack)
    machine.xdp(locates.asked(inner), "back")
    said = asked(what, sent, ack if "A" in flags else None, data=bool(data), reset="R" in flags)
    stays = KEY in machine.table(table)
    answered = machine.counters().get("LOCATE_ANSWERED", 0)
    if (stays, answered) != (said.stays is not Without.NOTHING, int(said.answered)):
        return 1, f"{flags} {ack:#x} for {what}: oracle {said}, core {stays}, {answered}"
    return 1, ""
