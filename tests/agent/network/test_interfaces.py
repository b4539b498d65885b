# SPDX-License-Identifier: Apache-2.0
"""Addresses, routes and settings in a network namespace of their own, and all of it taken back."""

import os
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ipos.agent.network import own_pair
from ipos.agent.network.interfaces import Network, NetworkError, interface
from ipos.errors import IposError
from ipos.lab import namespaces

pytestmark = pytest.mark.farm
OWN, OTHER, THIRD = (IPv4Address(f"203.0.113.{n}") for n in (1, 2, 3))
SETTINGS = Path("/proc/sys/net/ipv4")


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """Inside a namespace with the interfaces front and back; where changes are remembered."""
    path = namespaces.path_of(f"net{os.getpid()}", "s1")
    namespaces.create(path)
    try:
        with namespaces.entered(path):
            for name, mac in (("front", "02:00:00:00:00:01"), ("back", "02:00:00:00:00:02")):
                ip("link", "add", name, "address", mac, "type", "bridge")
                ip("link", "set", name, "up")
            ip("link", "set", "lo", "up")
            ip("address", "add", "10.77.0.1/24", "dev", "back")
            yield tmp_path / "changes.json"
    finally:
        namespaces.remove(path)


def local_addresses() -> set[str]:
    lines = ip("route", "show", "table", "local", "type", "local").splitlines()
    return {line.split()[1] for line in lines if line.split()[1].startswith("203.")}


def setting(name: str) -> str:
    return (SETTINGS / name).read_text().strip()


def prepare(file: Path, source: IPv4Address | None = None) -> Network:
    network = Network(file)
    network.prepare(interface("front"), interface("back"), [OWN], source)
    return network


def test_no_new_socket_gets_mptcp_until_all_is_taken_back(file: Path) -> None:
    enabled = SETTINGS.parent / "mptcp" / "enabled"
    network = Network(file)
    for mptcp, expected in ((False, "0"), (True, "1"), (False, "0")):
        network.prepare(interface("front"), interface("back"), [OWN], mptcp=mptcp)
        assert enabled.read_text().strip() == expected
    Network(file).restore()
    assert enabled.read_text().strip() == "1"


def test_an_interface_is_what_the_kernel_says(file: Path) -> None:
    back = interface("back")
    assert back.mac == b"\2\0\0\0\0\2"
    assert back.addresses == ((IPv4Address("10.77.0.1"), 24),)
    with pytest.raises(NetworkError, match="no network interface eth7 on this server"):
        interface("eth7")
    with pytest.raises(NetworkError, match="lo has no Ethernet address"):
        interface("lo")


def test_all_that_is_changed_is_taken_back(file: Path) -> None:
    names = [
        "conf/front/arp_ignore",
        "conf/front/arp_announce",
        "conf/back/rp_filter",
        "tcp_rfc1337",
        "tcp_syncookies",
    ]
    (SETTINGS / "tcp_rfc1337").write_text("1")
    (SETTINGS / "tcp_syncookies").write_text("0")
    before = {name: setting(name) for name in names}
    network = prepare(file)
    assert [setting(name) for name in names] == ["1", "2", "2", "0", "1"]
    network.route({OTHER, THIRD})
    assert local_addresses() == {"203.0.113.1", "203.0.113.2", "203.0.113.3"}
    Network(file).restore()
    assert {name: setting(name) for name in names} == before
    assert local_addresses() == set()
    assert not file.exists()


def test_the_next_agent_changes_nothing_and_remembers_the_first_values(file: Path) -> None:
    prepare(file).route({OTHER})
    text = file.read_text()
    prepare(file).route({OTHER})
    assert file.read_text() == text
    Network(file).restore()
    assert setting("conf/front/arp_ignore") == "0"
    assert local_addresses() == set()


def test_own_programs_get_a_pair_and_a_source(file: Path) -> None:
    """Whatever is there before, and again; and all of it is taken back."""
    names = ["conf/front/accept_local", "conf/back/accept_local", "conf/front/rp_filter"]
    before = {name: setting(name) for name in names}
    prepare(file).route({OTHER})
    for _ in range(2):
        prepare(file, OWN).route({OTHER, THIRD})
        for address in (OTHER, THIRD):
            said = ip("route", "show", "table", "local", str(address))
            assert f"src {OWN}" in said
        assert [setting(name) for name in names] == ["1", "1", "2"]
        for name in (own_pair.PROGRAMS, own_pair.FRONT):
            assert interface(name).mac == interface("front").mac
            assert len(interface(name).addresses) == 1
            assert setting(f"conf/{name}/accept_local") == "1"
    prepare(file).route({OTHER, THIRD})
    assert f"src {OWN}" not in ip("route", "show", "table", "local", str(OTHER))
    Network(file).restore()
    assert {name: setting(name) for name in names} == before
    assert own_pair.indices() == (0, 0)
    assert local_addresses() == set()


def test_only_routes_of_ours_are_removed(file: Path) -> None:
    ip("route", "add", "local", str(THIRD), "dev", "lo", "table", "local")
    network = prepare(file)
    network.route({OTHER, THIRD})
    network.route(set())
    assert local_addresses() == {str(OWN), str(THIRD)}
    network.restore()
    assert local_addresses() == {str(THIRD)}


def test_what_differs_from_the_last_time_is_changed(file: Path) -> None:
    network = prepare(file)
    network.route({OTHER})
    network.route({OTHER, THIRD})
    assert local_addresses() == {str(OWN), str(OTHER), str(THIRD)}
    network.route({THIRD})
    assert local_addresses() == {str(OWN), str(THIRD)}
    network.restore()
    assert local_addresses() == set()


def test_a_route_that_went_while_no_agent_ran_is_made_again(file: Path) -> None:
    prepare(file).route({OTHER, THIRD})
    ip("route", "delete", "local", str(OTHER), "table", "local")
    prepare(file).route({OTHER, THIRD})
    assert local_addresses() == {str(OWN), str(OTHER), str(THIRD)}
    prepare(file).route({THIRD})
    assert local_addresses() == {str(OWN), str(THIRD)}


def test_an_address_that_is_there_stays(file: Path) -> None:
    ip("address", "add", f"{OWN}/24", "dev", "front")
    prepare(file)
    Network(file).restore()
    assert local_addresses() == {str(OWN)}


def test_what_has_gone_by_itself_is_no_fault(file: Path) -> None:
    prepare(file).route({OTHER})
    ip("link", "delete", "front")
    ip("route", "delete", "local", str(OTHER), "table", "local")
    Network(file).restore()
    assert local_addresses() == set()


def test_a_damaged_file_is_made_up_for_by_what_the_machine_shows(file: Path) -> None:
    """Routes and addresses are marked as ours; settings go back to those of a new interface."""
    ip("route", "add", "local", str(THIRD), "dev", "lo", "table", "local")
    prepare(file).route({OTHER, THIRD})
    file.write_bytes(file.read_bytes()[:-20])
    said: list[str] = []
    Network(file, said.append).restore("front", "back")
    assert len(said) == 1
    assert f"{file} is damaged" in said[0]
    assert file.with_name("changes.json.damaged").exists()
    assert local_addresses() == {str(THIRD)}
    for name, usual in (
        ("conf/front/arp_ignore", "arp_ignore"),
        ("conf/back/rp_filter", "rp_filter"),
    ):
        assert setting(name) == setting(f"conf/default/{usual}")


def test_an_agent_goes_on_from_a_damaged_file(file: Path) -> None:
    prepare(file).route({OTHER})
    file.write_bytes(b"")
    Network(file, lambda _: None).prepare(interface("front"), interface("back"), [OWN])
    Network(file).restore()
    assert local_addresses() == set()
    assert setting("conf/front/arp_ignore") == setting("conf/default/arp_ignore")


def test_a_file_that_names_what_is_not_ours_is_not_followed(file: Path) -> None:
    before = setting("ip_forward")
    for content in (
        '{"sysctls": {"ip_forward": "1"}}',
        '{"sysctls": {"conf/../../../kernel/panic": "1"}}',
        '{"routes": ["everything"]}',
    ):
        file.write_text(content)
        said: list[str] = []
        Network(file, said.append).restore("front", "back")
        assert "no agent changes" in said[0]
    assert setting("ip_forward") == before


def test_an_address_that_is_no_longer_ours_leaves_front(file: Path) -> None:
    ip("address", "add", f"{THIRD}/24", "dev", "front")
    network = Network(file)
    network.prepare(interface("front"), interface("back"), [OWN, OTHER, THIRD])
    network.release([OWN])
    assert local_addresses() == {str(OWN), str(THIRD)}, "and one that was there stays"
    network.release([OWN])
    network.route({OTHER})
    assert local_addresses() == {str(OWN), str(OTHER), str(THIRD)}


def test_an_address_that_moves_to_another_server_stays_local(file: Path) -> None:
    network = Network(file)
    network.prepare(interface("front"), interface("back"), [OWN, OTHER])
    network.route({OTHER})  # its next server says so before we have let it go
    network.release([OWN])
    network.route({OTHER})
    assert local_addresses() == {str(OWN), str(OTHER)}
    assert "dev lo" in ip("route", "show", "table", "local", str(OTHER))


def test_an_interface_with_a_dot_has_its_settings(file: Path) -> None:
    ip("link", "add", "front.7", "type", "bridge")
    network = Network(file)
    network.prepare(interface("front.7"), interface("back"), [])
    assert setting("conf/front.7/arp_ignore") == "1"
    network.restore()
    assert setting("conf/front.7/arp_ignore") == "0"


def test_what_cannot_be_remembered_is_not_changed(file: Path) -> None:
    file.parent.joinpath(f".{file.name}.new").mkdir()
    with pytest.raises(IposError, match="cannot write"):
        prepare(file)
    assert setting("conf/front/arp_ignore") == "0"
    assert local_addresses() == set()
