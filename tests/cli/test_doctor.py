# SPDX-License-Identifier: Apache-2.0
"""`ipos doctor` on a real host: its output's shape, its exit status, and the faults it sees."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipos.doctor import CHECKS
from ipos.doctor.site import Place, Site, read_site
from ipos.kernel import data_plane
from ipos.kernel.hooks import Attachment, Hook
from ipos.lab.offload import set_offloads
from tests.support.plane import Wire, compile_objects, inside_namespace, pin_place

IPPROTO_MPTCP = 262


@pytest.fixture
def wire() -> Iterator[Wire]:
    with inside_namespace() as ends:
        yield ends


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without a configuration has that fault, too."""
    file = tmp_path / "empty.toml"
    file.write_text('[server]\nfront = "front"\nback = "back"\n')
    monkeypatch.setenv("IPOS_CONFIG", str(file))


def doctor(*arguments: str) -> tuple[int, dict[str, str], Any]:
    """Exit status, the faults by check, and the whole object."""
    done = subprocess.run(
        [sys.executable, "-m", "ipos", "doctor", "-o", "json", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    faults = {each["check"]: each["message"] for each in answer["checks"] if not each["ok"]}
    return done.returncode, faults, answer


def make_healthy() -> None:
    for end in ("front", "back"):
        set_offloads(end, gro=True)
    for key, value in (("arp_ignore", 1), ("arp_announce", 2)):
        Path(f"/proc/sys/net/ipv4/conf/front/{key}").write_text(str(value))
    Path("/proc/sys/net/ipv4/tcp_rfc1337").write_text("0")
    Path("/proc/sys/net/ipv4/tcp_syncookies").write_text("1")


@pytest.mark.farm
def test_healthy_namespace(wire: Wire) -> None:
    make_healthy()
    status, faults, answer = doctor("--port", "80")
    assert faults == {}
    assert status == 0
    assert answer["ok"] is True
    assert [each["check"] for each in answer["checks"]] == [c.__name__ for c in CHECKS]


@pytest.mark.farm
def test_faults_are_seen_together(wire: Wire) -> None:
    make_healthy()
    Path("/proc/sys/net/ipv4/tcp_rfc1337").write_text("1")
    Path("/proc/sys/net/ipv4/tcp_syncookies").write_text("0")
    subprocess.run(["ip", "link", "set", "back", "mtu", "1400"], check=True)
    ruleset = (
        "table inet f { chain i { type filter hook input priority 0; "
        "tcp flags != syn ct state new drop\n}\n}"
    )
    subprocess.run(["nft", "-f", "-"], input=ruleset, text=True, check=True)
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM, IPPROTO_MPTCP) as listener:
        listener.bind(("::", 8080))
        listener.listen()
        status, faults, _ = doctor("--port", "80", "--port", "8080")
    assert status == 1
    assert set(faults) == {"tcp_syncookies", "tcp_rfc1337", "mtu", "mptcp", "firewall"}
    assert "nft delete rule inet f i handle " in faults["firewall"]
    assert "port 8080" in faults["mptcp"]


@pytest.mark.farm
def test_a_veth_whose_other_end_takes_nothing_from_xdp(wire: Wire) -> None:
    make_healthy()
    set_offloads("back", gro=False)
    assert "ethtool -K PEER gro on" in doctor("--port", "80")[1]["native_xdp"]


@pytest.mark.farm
def test_taken_xdp_slot_is_named(wire: Wire, tmp_path: Path) -> None:
    make_healthy()
    objects = compile_objects(
        tmp_path,
        xdp='const volatile __u32 ipos_abi = 1; SEC("xdp") int ipos_xdp(void *c) { return 2; }',
    )
    with pin_place() as place:
        data_plane.load(objects, place)
        data_plane.attach(place, [Attachment(Hook.XDP, wire.front)])
        assert doctor("--port", "80")[1] == {}
    foreign = tmp_path / "foreign"
    compile_objects(foreign, other='SEC("xdp") int somebody(void *c) { return 2; }')
    subprocess.run(
        ["ip", "link", "set", "front", "xdp", "obj", str(foreign / "other.bpf.o"), "sec", "xdp"],
        check=True,
    )
    assert "taken by program somebody" in doctor("--port", "80")[1]["xdp_slot"]


def test_missing_interface_is_a_fault_and_no_traceback() -> None:
    status, faults, _ = doctor("--front", "nosuch0", "--back", "nosuch1")
    assert status == 1
    assert "no interface nosuch0 (front)" in faults["interfaces"]
    assert "not looked at" in faults["carrier"]
    argv = [sys.executable, "-m", "ipos", "doctor", "--front", "nosuch0"]
    shown = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    assert re.search(r"\n\d+ to fix, and \d+ not looked at$", shown.rstrip())


def test_site_is_read_leniently(tmp_path: Path) -> None:
    config = tmp_path / "ipos.toml"
    config.write_text(
        '[server]\nfront = "eth0"\naddresses = ["203.0.113.1"]\nnonsense = 1\n'
        '[[service]]\nport = 80\n[[service]]\nport = "x"\n'
    )
    assert read_site(config) == Site("eth0", "eth0", (80,), ("203.0.113.1",), file=str(config))
    config.write_text("not toml")
    assert read_site(config) == Site(file=str(config))
    absent = tmp_path / "absent"
    assert read_site(absent) == Site(file=str(absent), missing=True)


def test_where_applications_should_listen(tmp_path: Path) -> None:
    config = tmp_path / "ipos.toml"
    config.write_text(
        '[farm]\nmembers = ["10.77.0.1"]\n[server]\nfront = "eth0"\nfront_vlan = 7\n'
        '[[service]]\nname = "web"\nport = 80\n'
        '[[service]]\nname = "api"\nport = 81\napplication = "127.0.0.1:9000"\n'
    )
    site = read_site(config)
    assert site.places == (Place("web", 80), Place("api", 9000, "127.0.0.1"))
    assert (site.members, site.tagged) == (("10.77.0.1",), ("eth0",))


def test_what_the_file_says_of_containers_and_of_connection_tracking(tmp_path: Path) -> None:
    config = tmp_path / "ipos.toml"
    config.write_text(
        '[server]\nnotrack = "leave"\n[[service]]\nname = "web"\nport = 80\n'
        '[[service]]\nname = "api"\nport = 81\napplication = "container:api:9000"\n'
    )
    site = read_site(config)
    assert (site.boxed, site.notrack) == (("api",), "leave")
