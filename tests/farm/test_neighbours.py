# SPDX-License-Identifier: Apache-2.0
"""Every server holds every service address, and still no neighbour ever hears a wrong one."""

import subprocess
import time

import pytest
from scapy.layers.l2 import ARP, Ether

from ipos.lab import faults
from tests.farm.test_load import CLOSE
from tests.farm.wire import packet_socket
from tests.support.farm import SERVERS, Farm, readable

pytestmark = pytest.mark.farm
ANSWERS_S = 0.5
"""How long answers are waited for, and one too many."""


def _run(farm: Farm, seconds: int, pause_s: float) -> None:
    """wrk, with all neighbour caches flushed again and again; the router is listened to."""
    expected = {
        farm.address(server): farm.lab.nodes[server].interface("front").mac for server in SERVERS
    }
    monitor = farm.lab.popen(
        "router1", ["ip", "monitor", "neigh"], stdout=subprocess.PIPE, text=True
    )
    command = ["wrk", "-t1", "-c8", f"-d{seconds}s", "--timeout", "10s", *CLOSE]
    command.append(f"http://{farm.address('s1')}/")
    load = farm.lab.popen("client1", command, stdout=subprocess.PIPE, text=True)
    flushes = 0
    while load.poll() is None:
        faults.flush_neighbours(farm.lab)
        for server in SERVERS:
            farm.lab.run("router1", ["ping", "-qc1", "-W1", farm.address(server)], stdout=-3)
        flushes += 1
        time.sleep(pause_s)
    output = load.communicate()[0]
    monitor.terminate()
    seen = monitor.communicate()[0]
    assert "rrors" not in output, output
    assert "Non-2xx" not in output, output
    assert flushes >= 3
    learned = set()
    for words in map(str.split, seen.splitlines()):
        if "lladdr" in words and words[0] in expected:
            learned.add((words[0], words[words.index("lladdr") + 1]))
    assert learned == set(expected.items()), "each address at its own server, and nowhere else"


def test_neighbour_caches_flushed_under_load(farm: Farm) -> None:
    _run(farm, 4, 0.3)


@pytest.mark.slow
def test_neighbour_caches_flushed_every_second_for_a_minute(farm: Farm) -> None:
    _run(farm, 60, 1.0)


@pytest.mark.parametrize("asked", SERVERS)
def test_only_the_holder_of_an_address_answers_for_it(farm: Farm, asked: str) -> None:
    """Asked in a broadcast from the LAN, as by a router that has forgotten all."""
    address, router = farm.address(asked), farm.lab.nodes["router1"].interface("front")
    question = Ether(src=router.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op="who-has", hwsrc=router.mac, psrc=router.addresses[0], pdst=address
    )
    with packet_socket(farm, "router1", "front") as wire:
        wire.send(bytes(question))
        answers, end = [], time.monotonic() + ANSWERS_S
        while readable(wire, max(0, end - time.monotonic())):
            packet = Ether(wire.recv(65536))
            if packet.haslayer(ARP) and packet[ARP].op == 2 and packet[ARP].psrc == address:
                answers.append(packet[ARP].hwsrc)
    assert answers == [farm.lab.nodes[asked].interface("front").mac]
