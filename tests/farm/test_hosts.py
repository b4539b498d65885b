# SPDX-License-Identifier: Apache-2.0
"""Servers as administrators make them: applications on one address, TCP options turned off."""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from ipos.abi.rows import Options
from ipos.lab import Lab, Settings, namespaces
from tests.support.farm import SERVERS, Farm, read_answer, request, wait_until

pytestmark = pytest.mark.farm

PORT: Final = 8090
_APPLICATION = Path(__file__).parent / "clients" / "bound.py"
CONFIG: Final = f"""\
[[service]]
name = "web"
port = {PORT}
policy = "round-robin"
slow_start_ms = 0
"""
TIMESTAMPS, SACK, SCALE = 1, 2, 4  # of tcpi_options


@pytest.fixture(scope="module")
def hosts() -> Iterator[Farm]:
    command = f"exec {sys.executable} {_APPLICATION} {PORT}"
    with Lab(Settings(name=f"ho{os.getpid()}", config=CONFIG, app=command)) as lab:
        yield Farm(lab)


@pytest.fixture
def farm(hosts: Farm) -> Farm:
    hosts.wait_idle()
    return hosts


def _served_by(farm: Farm, server: str) -> tuple[str, int]:
    """Who answers what is asked through a server, and the options of the connection."""
    with farm.connect(PORT, server) as connection:
        connection.sendall(request())
        answer = read_answer(connection)
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
        return answer.served_by, struct.unpack_from("=BBBBBB", info)[5]


def test_an_application_on_its_own_address_serves_what_came_through_any(farm: Farm) -> None:
    """The data plane looks for a listener where the agent has found one."""
    before = farm.all_counters()
    for server in SERVERS:
        assert {_served_by(farm, server)[0] for _ in range(9)} == set(SERVERS)
    for server, counts in farm.all_counters().items():
        assert counts["drop_not_adopted"] == before[server]["drop_not_adopted"]


@pytest.mark.parametrize(
    ("name", "option", "bit"),
    [
        ("tcp_timestamps", Options.TIMESTAMPS, TIMESTAMPS),
        ("tcp_sack", Options.SACK, SACK),
        ("tcp_window_scaling", Options.WSCALE, SCALE),
    ],
)
def test_what_one_kernel_does_not_take_is_offered_by_none(
    farm: Farm, name: str, option: Options, bit: int
) -> None:
    def agreed(withheld: Options) -> bool:
        found = [tables.settings.get(0) for tables in farm.tables.values()]
        return all(one is not None and one.withheld == withheld for one in found)

    def turn(value: int) -> None:
        with namespaces.entered(farm.lab.place("s2").namespace):
            Path("/proc/sys/net/ipv4", name).write_text(f"{value}\n")

    assert _served_by(farm, "s1")[1] & bit
    turn(0)
    try:
        wait_until("all servers know of it", lambda: agreed(option))
        before = farm.all_counters()
        for server in SERVERS:
            answers = [_served_by(farm, server) for _ in range(9)]
            assert {who for who, _ in answers} == set(SERVERS)
            assert not any(options & bit for _, options in answers)
        for server, counts in farm.all_counters().items():
            assert counts["drop_not_adopted"] == before[server]["drop_not_adopted"]
        wait_until(
            "status tells of it", lambda: f"{name} is off here" in farm.run("s2", "ipos", "status")
        )
        doctor = farm.lab.run("s2", ["ipos", "doctor"], stdout=subprocess.PIPE, text=True)
        assert f"sysctl -w net.ipv4.{name}=1" in doctor.stdout
    finally:
        turn(1)
    wait_until("and of its end", lambda: agreed(Options(0)))
    assert _served_by(farm, "s1")[1] & bit
