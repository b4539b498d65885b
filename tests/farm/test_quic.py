# SPDX-License-Identifier: Apache-2.0
"""HTTP/3 in a lab, by client and server of aioquic: routes by server name, and connection IDs.

The servers' connection IDs have the numbers that `ipos table number` shows. Every second client has
a ClientHello that takes two datagrams, as browsers' have since they send post-quantum key shares.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from ipos.lab import Lab, Settings
from tests.farm.clients.h3_client import Client
from tests.farm.clients.h3_server import body
from tests.support.farm import CLIENT, SERVERS, Farm, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.timeout(600)]

PORT = 443
NAMES = {"a.example.org": "s1", "b.example.org": "s2", "c.example.org": "s3"}
CONFIG = f"""\
[[service]]
name = "h3"
port = {PORT}
protocol = "udp"
mode = "quic"
policy = "round-robin"
slow_start_ms = 0
connection_id = {{ server_id_at = 1, server_id_bytes = 2 }}

""" + "".join(
    f'[[route]]\nservice = "h3"\nhost = "{name}"\nservers = ["{server}"]\n'
    for name, server in NAMES.items()
)
CONFIG += '[[route]]\nservice = "h3"\nalpn = ["hq-interop"]\nservers = ["s2"]\n'
_CLIENTS = Path(__file__).parent / "clients"
SIZE = 3_000_000
SECOND_ADDRESS = "10.99.0.77"


def _certificate(folder: Path) -> list[str]:
    made = [str(folder / "h3.crt"), str(folder / "h3.key")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=example.org", "-out", made[0], "-keyout", made[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def quic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """Three servers of HTTP/3."""
    certificate = _certificate(tmp_path_factory.mktemp("h3"))
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(Settings(name=f"qu{os.getpid()}", config=CONFIG)))
        made = Farm(lab)
        wait_until("all servers have numbers", lambda: len(_numbers(made)) == len(SERVERS))
        for server in SERVERS:
            number, at = _numbers(made)[server]
            command = [sys.executable, str(_CLIENTS / "h3_server.py"), str(PORT), server, number,
                       str(at), *certificate]  # fmt: skip
            one = lab.popen(server, command, stdout=subprocess.DEVNULL)
            stack.callback(one.wait)
            stack.callback(one.kill)
        wait_until("HTTP/3 is served by all", partial(_served_by_all, made))
        yield made


def _numbers(farm: Farm) -> dict[str, tuple[str, int]]:
    rows = json.loads(farm.run("s1", "ipos", "table", "number", "-o", "json"))
    return {row["server"]: (row["number"], row["first_byte"]) for row in rows}


def _served_by_all(farm: Farm) -> bool:
    row = re.search(r"^h3 .*$", farm.run("s1", "ipos", "status"), re.MULTILINE)
    return row is not None and len(re.findall(r"\bs\d\b", row.group())) == len(SERVERS)


def _counters(farm: Farm) -> Counter[str]:
    return sum((Counter(farm.counters(server)) for server in SERVERS), Counter[str]())


def test_200_connections_come_to_the_servers_of_their_names(quic: Farm) -> None:
    before = _counters(quic)
    said = quic.run(
        "client1", sys.executable, "-m", "tests.farm.clients.h3_client", quic.address("s1"),
        str(PORT), "200", *NAMES,
    )  # fmt: skip
    found = json.loads(said)
    after = _counters(quic) - before
    assert len(found) == 200
    assert {(name, by) for name, _, by in found} == set(NAMES.items())
    assert {count for _, count, _ in found} >= {1, 2}
    assert after["quic_held"] >= 100
    assert after["quic_unread"] == 0


@pytest.mark.parametrize("source", ["", SECOND_ADDRESS])
@pytest.mark.parametrize("name", NAMES)
def test_a_download_goes_on_when_the_clients_address_changes(
    quic: Farm, name: str, source: str
) -> None:
    """By another port, or also another address; the first server has no row for either."""
    interface = quic.run("client1", "ip", "-o", "address", "show", "to", CLIENT).split()[1]
    quic.run("client1", "ip", "address", "replace", f"{SECOND_ADDRESS}/24", "dev", interface)
    before = _counters(quic)
    with quic.inside("client1"):
        client = Client(quic.address("s1"), PORT, name, long=True, source=CLIENT)
        half = len(client.get(f"/{SIZE}", until=SIZE // 2))
        client.move(source or CLIENT)
        whole = client.get("")
        client.close()
    assert half < SIZE
    expected = NAMES[name].encode() + body(SIZE)
    assert sha256(whole).digest() == sha256(expected).digest()
    assert (_counters(quic) - before)["quic_number"] >= 1


def test_names_without_a_route_get_any_server(quic: Farm) -> None:
    answers = []
    for _ in range(6):
        with quic.inside("client1"):
            client = Client(quic.address("s1"), PORT, "other.example", source=CLIENT)
            answers.append(client.get("/").decode())
            client.close()
    assert Counter(answers) == {"s1": 2, "s2": 2, "s3": 2}


@pytest.mark.parametrize("long", [False, True], ids=["one datagram", "two datagrams"])
def test_a_protocol_leads_to_its_server(quic: Farm, long: bool) -> None:
    """Before the name, and whatever else the client offers."""
    answers = []
    for name in ("other.example", "a.example.org", "c.example.org"):
        with quic.inside("client1"):
            client = Client(
                quic.address("s1"), PORT, name, source=CLIENT, long=long,
                offers=["x" * 40, "hq-interop"],
            )  # fmt: skip
            answers.append(client.get("/").decode())
            client.close()
    assert answers == ["s2"] * 3


def test_a_port_that_is_used_again_gets_the_server_of_its_new_name(quic: Farm) -> None:
    """The row of the connection before it is still there."""
    with quic.inside("client1"):
        first = Client(quic.address("s1"), PORT, "a.example.org", source=CLIENT)
        assert first.get("/") == b"s1"
        first.close()
        again = Client(
            quic.address("s1"),
            PORT,
            "c.example.org",
            source=CLIENT,
            port_from=first.port,
            long=True,
        )
        assert again.get("/") == b"s3"
        again.close()


def test_ids_lead_nowhere_while_their_server_is_in_maintenance(quic: Farm) -> None:
    """The next datagram gets another server, which knows no such connection; then it is back."""
    with quic.inside("client1"):
        client = Client(quic.address("s1"), PORT, "b.example.org", source=CLIENT)
        client.get(f"/{SIZE}", until=SIZE // 2)
        quic.run("s1", "ipos", "server", "set", "s2", "maint", "--force")
        try:
            before = quic.counters("s1")
            client.move(CLIENT)
            wait_until("another server is chosen", lambda: _gained(quic, before, "flow_new") == 1)
            assert _gained(quic, before, "quic_number") == 0
        finally:
            quic.run("s1", "ipos", "server", "set", "s2", "ready")
        whole = client.get("")
        client.close()
    assert len(whole) == len("s2") + SIZE
    assert _gained(quic, before, "quic_number") >= 1


def _gained(farm: Farm, before: dict[str, int], counter: str) -> int:
    return farm.counters("s1").get(counter, 0) - before.get(counter, 0)
