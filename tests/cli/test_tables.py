# SPDX-License-Identifier: Apache-2.0
"""`table`, `counters`, `status`, `capture` and `detach` on real maps with known rows, no agent."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.l2 import Ether
from scapy.utils import rdpcap

from ipos.abi import rows
from ipos.abi.layout import constant, counter
from ipos.kernel import data_plane
from ipos.kernel.libbpf import Map, possible_cpus
from ipos.kernel.maps import Tables
from ipos.tables import TABLES
from tests.support.plane import compile_objects, pin_place, run_xdp

pytestmark = pytest.mark.farm

# The project's own maps, and a program that captures what it is given.
BPF = Path(__file__).parents[2] / "bpf"
SOURCE = """
#include "lib/maps.h"
const volatile __u32 ipos_abi = IPOS_ABI;
char LICENSE[] SEC("license") = "Dual BSD/GPL";
SEC("xdp") int ipos_xdp(struct xdp_md *ctx)
{
    struct { struct ipos_captured head; __u8 bytes[64]; } out = {};
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 64 > end)
        return XDP_PASS;
    out.head.when_ns = bpf_ktime_get_boot_ns();
    out.head.length = end - data;
    out.head.captured = 64;
    __builtin_memcpy(out.bytes, data, 64);
    bpf_ringbuf_output(&captured, &out, sizeof(out), 0);
    return XDP_PASS;
}
"""
KEY = rows.Tuple(IPv4Address("10.99.0.11"), IPv4Address("203.0.113.1"), 40000, 80)
HANDSHAKE = rows.Handshake(1000, 2000, 1460, 7, rows.Options.SACK | rows.Options.TIMESTAMPS, 0, 0)
SELF = IPv4Address("203.0.113.1")
CLIENT_KEY = {
    "client_ip": "10.99.0.11",
    "client_port": 40000,
    "service_ip": "203.0.113.1",
    "service_port": 80,
}


def fill(tables: Tables) -> None:
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    tables.settings.put(
        0,
        rows.Settings(
            constant("IPOS_ABI"), rows.SettingsFlags.AUTHENTICATE, 1, 2, 0, 0, 7, 1, bytes(6),
            bytes(6), SELF, time.time_ns() - now, header_timeout_ms=5000, idle_s=3600,
        ),
    )  # fmt: skip
    tables.servers.put(
        1,
        rows.Server(
            SELF, IPv4Address("10.77.0.1"), bytes(6), rows.ServerState.READY,
            tcp_connections=12, cpu_permille=250, memory_available=1 << 30,
            bandwidth_available=10**9, updated_ns=now,
        ),
    )  # fmt: skip
    tables.services.put(
        0,
        rows.Service(
            6, used=True, port=80, application_ip=IPv4Address("127.0.0.1"), application_port=8080
        ),
    )
    tables.pools.put(0, rows.Pool(rows.Policy.RANDOM, candidates=(rows.Candidate(1, 8080, 3),)))
    destination = IPv4Address("203.0.113.2")
    tables.forward.put(
        KEY, rows.Forward(destination, 8080, 2, True, iss=1000, packets=5, last_seen_ns=now)
    )
    endpoint = rows.Endpoint(
        endpoint_ip=IPv4Address("127.0.0.1"),
        endpoint_port=8080,
        first=1,
        cookie=77,
        hs=HANDSHAKE,
        state=rows.EndpointState.ATTACHED,
        last_seen_ns=now,
    )
    tables.local.put(KEY, endpoint)
    flow = rows.Flow(now, now, destination, 53, 2, state=rows.FlowState.ACKNOWLEDGED, packets=3)
    tables.udp_new.put(rows.Tuple(KEY.client_ip, KEY.service_ip, 40002, 53, 17), flow)
    tables.temporary.put(
        KEY, rows.Temporary(HANDSHAKE, rows.TemporaryState.OPEN, created_ns=now, last_seen_ns=now)
    )
    tables.cookies.put(
        rows.CookieKey(0xABC, 80), rows.Cookie(destination, expires_ns=now + 600 * 10**9)
    )
    held = rows.Tuple(KEY.client_ip, KEY.service_ip, 40001, 80)
    tables.holding.put(held, rows.Holding(HANDSHAKE, 900, 536, created_ns=now, last_seen_ns=now))


@pytest.fixture(scope="module")
def pins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("plane")
    objects = compile_objects(directory, include=BPF, header="", xdp=SOURCE)
    with pin_place() as root:
        data_plane.load(objects, root / "shop-s1")
        fill(Tables(root / "shop-s1" / "maps"))
        with Map.open(root / "shop-s1" / "maps" / "counters") as counters:
            values = [(i + 1).to_bytes(8, "little") for i in range(possible_cpus())]
            counters.update_per_cpu(counter("DROP_DENIED").to_bytes(4, "little"), values)
        yield root


def command(pins: Path, *arguments: str) -> list[str]:
    return ["env", "--default-signal=INT", f"IPOS_PIN_DIR={pins}", f"IPOS_RUN_DIR={pins}-run",
            sys.executable, "-m", "ipos", *arguments]  # fmt: skip


def ipos(pins: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(pins, *arguments), capture_output=True, text=True, check=False)


def answer(pins: Path, *arguments: str) -> Any:
    done = ipos(pins, *arguments, "-o", "json")
    assert done.stderr == ""
    assert done.returncode == 0
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", sorted(set(TABLES) - {"application"}))
def test_json_has_the_columns_of_the_figure_in_order(pins: Path, name: str) -> None:
    for row in answer(pins, "table", name):
        assert tuple(row) == TABLES[name].columns()


def test_flow(pins: Path) -> None:
    (row,) = answer(pins, "table", "flow")
    assert abs(row.pop("last_seen") - time.time()) < 60
    assert row["destination_ip"] == "203.0.113.2"
    assert (row["service_port"], row["destination_port"]) == (53, 53)
    assert (row["state"], row["kept"], row["packets"]) == ("acknowledged", False, 3)


def test_forward(pins: Path) -> None:
    (row,) = answer(pins, "table", "forward")
    assert abs(row.pop("last_seen") - time.time()) < 60
    assert row == CLIENT_KEY | {
        "destination_ip": "203.0.113.2",
        "destination_port": 8080,
        "acknowledged": True,
        "packets": 5,
    }


def test_local(pins: Path) -> None:
    (row,) = answer(pins, "table", "local")
    assert row == CLIENT_KEY | {
        "endpoint_ip": "127.0.0.1",
        "endpoint_port": 8080,
        "endpoint_reference": 77,
        "iss": 1000,
        "options": ["sack", "timestamps"],
        "state": "attached",
        "next_request_sequence_number": 2001,
    }
    assert answer(pins, "table", "forward-connect") == []


def test_temporary_holds_open_and_held_endpoints(pins: Path) -> None:
    found = answer(pins, "table", "temporary")
    assert [(r["client_port"], r["state"]) for r in found] == [(40000, "open"), (40001, "held")]
    assert found[0]["endpoint_reference"] == 0
    assert found[1]["endpoint_reference"] > 0


def test_server(pins: Path) -> None:
    (server,) = answer(pins, "table", "server")
    assert server.pop("age") < 60
    assert server == {
        "server_ip": "203.0.113.1",
        "tcp_connections": 12,
        "cpu_utilisation": 0.25,
        "available_memory": 1 << 30,
        "available_bandwidth": 10**9,
        "state": "ready",
        "weight": 3,
    }


def test_cookie(pins: Path) -> None:
    (cookie,) = answer(pins, "table", "cookie")
    assert 500 < cookie.pop("expiry") - time.time() < 700
    assert cookie == {"cookie_id": "0000000000000abc:80", "server_ip": "203.0.113.2"}


def test_text_has_a_line_per_row(pins: Path) -> None:
    header, row = ipos(pins, "table", "forward").stdout.splitlines()
    assert header.split() == list(TABLES["forward"].columns())
    assert row.split()[:4] == ["10.99.0.11", "40000", "203.0.113.1", "80"]


def test_unknown_table_is_wrong_usage(pins: Path) -> None:
    done = ipos(pins, "table", "nonsense")
    assert done.returncode == 2
    assert "forward-connect" in done.stderr


def test_counters_are_summed_over_cpus(pins: Path) -> None:
    expected = sum(range(1, possible_cpus() + 1))
    counters = answer(pins, "counters")
    assert counters["drop_denied"] == expected
    assert counters["drop_fragment"] == 0
    header, line = ipos(pins, "counters").stdout.splitlines()
    assert header.split() == ["counter", "value", "meaning"]
    assert line.split()[:2] == ["drop_denied", str(expected)]


def test_status(pins: Path) -> None:
    done = ipos(pins, "status", "-o", "json")
    assert done.stderr == (
        "ipos: no agent is running on this server: this is what the pinned maps say\n"
    )
    status = json.loads(done.stdout)
    assert status["agent"] == "not running"
    assert [each["address"] for each in status["servers"]] == ["203.0.113.1"]
    assert status["connections"] == {
        "local": 1,
        "forward_connect": 0,
        "forward": 1,
        "temporary": 1,
        "held": 1,
    }
    assert "203.0.113.1" in ipos(pins, "status").stdout


def test_routes_need_no_agent(pins: Path) -> None:
    done = ipos(pins, "route", "list", "-o", "json")
    assert done.returncode == 0, done.stderr
    (default,) = json.loads(done.stdout)
    assert (default["route"], default["host"], default["path"]) == (None, "*", "/")
    text = ipos(pins, "route", "test", "http://203.0.113.1/a/../b").stdout
    assert "host 203.0.113.1, path /b" in text
    assert "the service has no routes: every server that listens" in text
    wrong = ipos(pins, "route", "test", "http://203.0.113.1:81/")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "no service has port 81" in wrong.stderr


def test_explain_needs_no_agent(pins: Path) -> None:
    done = ipos(pins, "explain", "http://203.0.113.1/", "-o", "json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "203.0.113.1:80 is no service address of this farm" in done.stderr
    tables = Tables(pins / "shop-s1" / "maps")
    key = rows.AddressKey(SELF, 80, rows.PROTOCOL_TCP)
    tables.addresses.put(key, rows.Address(0, 1))
    try:
        done = ipos(pins, "explain", "http://203.0.113.1/", "--client", "10.99.0.11", "-o", "json")
        told = json.loads(done.stdout)
        text = ipos(pins, "explain", "http://203.0.113.1/").stdout
    finally:
        tables.addresses.delete(key)
    assert "no agent is running" in done.stderr
    assert (told["policy"], told["notes"]) == ("random", [])
    assert [(s["address"], s["weight"], s["share"]) for s in told["servers"]] == [
        ("203.0.113.1", 3, 1.0)
    ]
    assert "random: weight 3 of 3" in text


@pytest.mark.parametrize("command_", [("reload",), ("watch",), ("server", "set", "s1", "drain")])
def test_what_needs_an_agent_says_so(pins: Path, command_: tuple[str, ...]) -> None:
    done = ipos(pins, *command_)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ipos: no agent is running on this server")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ((), "say what is wanted of it: a state, or --weight"),
        (("down",), "'down' is not one of 'ready', 'drain', 'maint'"),
        (("--weight", "0"), "a weight of 0 would be for nothing new: say drain"),
        (("--weight", "65536"), "65536 is no weight: 1 to 65535, or default"),
        (("drain", "--weight", "much"), "much is no weight: 1 to 65535, or default"),
    ],
)
def test_an_order_that_makes_no_sense_is_wrong_usage(
    pins: Path, wanted: tuple[str, ...], why: str
) -> None:
    done = ipos(pins, "server", "set", "s1", *wanted)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr


def flags(pins: Path) -> rows.SettingsFlags:
    settings = Tables(pins / "shop-s1" / "maps").settings.get(0)
    assert settings is not None
    return settings.flags


def frames(file: Path) -> list[bytes]:
    return [bytes(packet) for packet in rdpcap(str(file))]


def test_capture_writes_pcap_and_takes_its_flag_back(pins: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.pcap"
    sent = [bytes(Ether(type=0x0007) / bytes([n] * 50)) for n in range(2)]
    run_xdp(pins / "shop-s1", bytes(64))  # before the capture: not part of it
    with subprocess.Popen(
        command(pins, "capture", "-w", str(file), "-c", "2"), stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        assert running.stderr.readline() == "capturing; Ctrl-C ends it\n"
        assert flags(pins) == rows.SettingsFlags.AUTHENTICATE | rows.SettingsFlags.CAPTURE
        busy = ipos(pins, "capture", "-w", str(tmp_path / "other.pcap"))
        assert busy.returncode == 1
        assert "another `ipos capture`" in busy.stderr
        for frame in sent:
            run_xdp(pins / "shop-s1", frame)
        assert running.wait(10) == 0
    assert frames(file) == sent
    assert flags(pins) == rows.SettingsFlags.AUTHENTICATE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_capture_ended_by_a_signal_takes_its_flag_back(
    pins: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        command(pins, "capture", "-w", str(tmp_path / "out.pcap")),
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        running.stderr.readline()
        os.kill(running.pid, number)
        assert running.wait(10) == 0
    assert frames(tmp_path / "out.pcap") == []
    assert flags(pins) == rows.SettingsFlags.AUTHENTICATE


def test_nothing_loaded_is_one_sentence_and_status_1(tmp_path: Path) -> None:
    for name in ("status", "counters", "upgrade"):
        done = ipos(tmp_path, name)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith("ipos: no data plane is loaded here")
        assert "systemctl start ipos-agent" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    detached = ipos(tmp_path, "detach")
    assert (detached.returncode, detached.stdout) == (1, "")
    assert detached.stderr.endswith("so there is nothing to detach\n")


def test_detach_removes_what_is_there(tmp_path: Path) -> None:
    objects = compile_objects(tmp_path / "plane", include=BPF, header="", xdp=SOURCE)
    with pin_place() as root:
        data_plane.load(objects, root / "shop-s1")
        assert ipos(root, "detach").returncode == 0
        assert not root.exists()
