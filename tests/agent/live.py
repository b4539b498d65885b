# SPDX-License-Identifier: Apache-2.0
"""A farm of three real agents, and what a test asks of it."""

import socket
from pathlib import Path
from typing import Any

from ipos.abi.rows import ServerState, SettingsFlags
from ipos.agent.snapshot import snapshot
from ipos.kernel.pins import directory_name
from tests.support.farm import ELSEWHERE, HERE, THIRD, Farm, read_answer, request

DROPPED = ("short", "version", "tag", "malformed", "source", "clock", "replayed", "farm")


def pins(farm: Farm, server: str) -> Path:
    place = farm.lab.place(server)
    return place.pin_dir / directory_name(farm.lab.name, server)


def seen(farm: Farm, by: str, server: str) -> tuple[ServerState, bool]:
    """State and staleness of a server in another's map."""
    row = farm.tables[by].servers.get(int(server[1:]))
    assert row is not None
    return row.state, row.stale


def ipos(farm: Farm, server: str, *arguments: str) -> tuple[int, str]:
    done = farm.lab.run(server, ["ipos", *arguments], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def agent_pid(farm: Farm, server: str) -> int:
    return int((farm.lab.place(server).run_dir / "agent.lock").read_text())


def answered_by(farm: Farm, requests: int) -> set[str]:
    return {farm.get().served_by for _ in range(requests)}


def kept_by(farm: Farm, server: str) -> socket.socket:
    """A connection to s1 that this server has, and that stays open."""
    connection = farm.connect({"s1": HERE, "s2": ELSEWHERE, "s3": THIRD}[server])
    connection.sendall(request(close=False))
    assert read_answer(connection).served_by == server
    return connection


def weights(farm: Farm, server: str) -> list[int]:
    pool = farm.tables[server].pools.get(0)
    return [] if pool is None else [one.weight for one in pool.candidates]


def candidates(farm: Farm, server: str) -> set[int]:
    pool = farm.tables[server].pools.get(0)
    assert pool is not None
    return {candidate.server for candidate in pool.candidates}


def datagrams(farm: Farm, server: str) -> dict[str, int]:
    found = snapshot.read(farm.lab.place(server).run_dir / "advertised.json").datagrams
    return {reason: found.get(reason, 0) for reason in DROPPED}


def server_rows(farm: Farm, server: str) -> list[Any]:
    """What does not change by itself of every row."""
    return [
        (index, row.address, row.back_ip, row.mac, row.state, row.stale)
        for index, row in farm.tables[server].servers.items()
    ]


def watch_flag(farm: Farm, server: str) -> bool:
    settings = farm.tables[server].settings.get(0)
    assert settings is not None
    return SettingsFlags.WATCH in settings.flags
