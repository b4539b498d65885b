# SPDX-License-Identifier: Apache-2.0
"""The last word of a server whose data plane is being taken away.

A silent server whose kernel runs is thought to serve still. One that is detached does not, so it
says that it is down, in place of the agent that has ended.
"""

import socket
import time
from ipaddress import IPv4Address
from pathlib import Path

from ipos.agent import message
from ipos.agent.message import State
from ipos.agent.snapshot import Snapshot
from ipos.config import load, read_secret, secret_path
from ipos.handshake.keys import FarmKeys
from ipos.inic.rows import ServerState, Settings


def say(snapshot: Snapshot, settings: Settings) -> None:
    """Tell every server that was heard; IposError or OSError when that is not possible."""
    file = Path(snapshot.config)
    config = load(file)
    back = {server.server: server.back_ip for server in snapshot.servers}
    me = IPv4Address(back[config.server.name])
    wall_ms = time.time_ns() // 1_000_000
    state = State(
        farm=config.farm.name,
        server=config.server.name,
        boot=wall_ms,
        sequence=0,
        sent_ms=wall_ms,
        state=int(ServerState.DOWN),
        back_ip=int(me),
        mac=settings.back_mac,
        addresses=[int(address) for address in config.server.addresses],
        tcp_connections=0,
        cpu_permille=0,
        memory_available=0,
        bandwidth_available=0,
        services=[],
        listening=[],
    )
    datagram = message.encode(state, FarmKeys(read_secret(secret_path(config, file))).state)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.bind((str(me), 0))
        for address in back.values():
            if address != str(me):
                out.sendto(datagram, (address, message.PORT))
