# SPDX-License-Identifier: Apache-2.0
"""Programs on hooks of a veth pair in a namespace of its own: on, off, replaced, refused."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipos.inic import kernel
from ipos.inic.hooks import Attachment, Hook, xdp_occupant
from ipos.inic.libbpf import AttachError, SlotTaken, syscall
from tests.farm.support import wait_until
from tests.inic.plane import (
    Wire,
    inside_namespace,
    pin_place,
    plane_objects,
)

pytestmark = pytest.mark.farm


def cgroup_root() -> Path:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.startswith("cgroup2 "):
            return Path(fields.split(" ")[4])
    pytest.skip("no cgroup2 is mounted")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plane_objects(tmp_path_factory.mktemp("plane"))


@pytest.fixture
def wire() -> Iterator[Wire]:
    with inside_namespace() as ends:
        yield ends


@pytest.fixture
def place(objects: Path) -> Iterator[Path]:
    with pin_place() as directory:
        kernel.load(objects, directory)
        yield directory


@pytest.fixture
def cgroup() -> Iterator[Path]:
    directory = cgroup_root() / f"tk-{os.getpid()}"
    directory.mkdir()
    yield directory
    directory.rmdir()


def flow(place: Path, key: int) -> bytes | None:
    with kernel.open_map(place, "flows") as flows:
        return flows.get(key.to_bytes(4, "little"))


def send_frame(ifindex: int, length: int) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((socket.if_indextoname(ifindex), 0))
        sender.send(b"\xff" * 12 + b"\x88\xb5" + bytes(length - 14))


def test_attach_puts_every_program_on_its_hook(wire: Wire, place: Path, cgroup: Path) -> None:
    links = kernel.attach(place, kernel.default_plan("front", "back", cgroup))
    assert {link.name for link in links} == {
        "sockops",
        f"ingress-{wire.front}",
        f"ingress-{wire.back}",
        f"egress-{wire.front}",
        f"xdp-{wire.front}",
        f"xdp-{wire.back}",
    }
    assert xdp_occupant(wire.front)[1] == xdp_occupant(wire.back)[1] == "ipos_xdp"
    send_frame(wire.front, 77)
    assert flow(place, 1) == (77).to_bytes(8, "little")
    assert flow(place, 2) is not None


def test_one_interface_for_both_sides(wire: Wire, place: Path) -> None:
    links = kernel.attach(place, kernel.default_plan("front", "front", None))
    assert [link.name for link in links] == [
        f"egress-{wire.front}",
        f"ingress-{wire.front}",
        f"xdp-{wire.front}",
    ]


def test_attach_converges(wire: Wire, place: Path) -> None:
    both = kernel.attach(place, kernel.default_plan("front", "back", None))
    assert kernel.attach(place, kernel.default_plan("front", "back", None)) == both
    kernel.attach(place, [Attachment(Hook.XDP, wire.back)])
    assert xdp_occupant(wire.front) == (0, "")
    assert xdp_occupant(wire.back)[1] == "ipos_xdp"


def test_interface_that_came_back_is_attached_anew(wire: Wire, place: Path) -> None:
    kernel.attach(place, [Attachment(Hook.XDP, wire.front)])
    subprocess.run(["ip", "link", "del", "front"], check=True)
    (dead,) = kernel.adopt(place).links
    assert dead.target == 0
    command = ["ip", "link", "add", "front", "index", str(wire.front), "type", "veth"]
    subprocess.run([*command, "peer", "name", "back"], check=True)
    (link,) = kernel.attach(place, [Attachment(Hook.XDP, wire.front)])
    assert link.target == wire.front


def test_taken_slot_is_refused_by_name_and_the_rest_taken_back(
    wire: Wire, place: Path, objects: Path
) -> None:
    with pin_place() as other:
        kernel.load(objects, other)
        kernel.attach(other, [Attachment(Hook.XDP, wire.back)])
        with pytest.raises(SlotTaken) as caught:
            kernel.attach(place, kernel.default_plan("front", "back", None))
        assert caught.value.program == "ipos_xdp"
        assert f"the XDP slot of back (ifindex {wire.back}) is taken" in str(caught.value)
        assert kernel.adopt(place).links == ()
        assert xdp_occupant(wire.front) == (0, "")


def test_a_driver_without_native_xdp_is_refused(wire: Wire, place: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    plan = [Attachment(Hook.XDP, socket.if_nametoindex("lo"))]
    with pytest.raises(AttachError, match=r"the driver of lo .* has no native XDP"):
        kernel.attach(place, plan)


def test_unknown_interface_and_cgroup_are_sentences(wire: Wire, place: Path) -> None:
    with pytest.raises(AttachError, match="there is no interface eth9 here"):
        kernel.default_plan("eth9", "back", None)
    with pytest.raises(AttachError, match="cannot open the cgroup /nowhere"):
        kernel.attach(place, kernel.default_plan("front", "back", "/nowhere"))
    assert kernel.adopt(place).links == ()


def test_upgrade_replaces_programs_under_their_links(
    wire: Wire, place: Path, tmp_path: Path
) -> None:
    before = kernel.attach(place, kernel.default_plan("front", "back", None))
    send_frame(wire.front, 60)
    result = kernel.upgrade(plane_objects(tmp_path, verdict="XDP_DROP"), place)
    assert result.replaced == ("ipos_xdp",)
    assert set(result.unchanged) == {"ipos_egress", "ipos_ingress", "ipos_insert", "ipos_sockops"}
    after = kernel.adopt(place)
    changed = {new.name for old, new in zip(before, after.links, strict=True) if old != new}
    assert changed == {f"xdp-{wire.front}", f"xdp-{wire.back}"}
    assert flow(place, 1) == (60).to_bytes(8, "little")
    assert {link.program_id for link in after.links} <= {p.id for p in after.programs}


def test_detach_leaves_nothing(wire: Wire, objects: Path, cgroup: Path) -> None:
    with pin_place() as place:
        kernel.load(objects, place)
        kernel.attach(place, kernel.default_plan("front", "back", cgroup))
        assert kernel.detach(place)
        assert not place.exists()
    assert xdp_occupant(wire.front) == xdp_occupant(wire.back) == (0, "")
    shown = subprocess.run(
        ["tc", "filter", "show", "dev", "front", "ingress"], capture_output=True, check=True
    )
    assert shown.stdout == b""


def connected() -> tuple[socket.socket, socket.socket]:
    """A TCP connection within this machine: its two ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return client, listener.accept()[0]


def said(place: Path, number: int) -> bytes | None:
    """What ipos_insert notes of a byte that a socket sends, as the map's `number`th."""
    client, server = connected()
    with client, server, kernel.open_map(place, "inserting") as sockets:
        sockets.update(number.to_bytes(4, "little"), server.fileno().to_bytes(8, "little"))
        server.send(b"x")
        assert client.recv(1) == b"x"
    return flow(place, 4)


def test_a_program_of_a_maps_sockets_goes_with_the_map(
    objects: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It runs from attach on, is replaced by an upgrade, and detach leaves plain TCP."""
    newer = plane_objects(tmp_path_factory.mktemp("newer"), stamp=2)
    client, server = connected()
    with pin_place() as place, client, server:
        kernel.load(objects, place)
        assert said(place, 1) is None
        kernel.attach(place, [])
        kernel.attach(place, [])
        assert said(place, 1) == (1).to_bytes(8, "little")
        assert "ipos_insert" in kernel.upgrade(newer, place).replaced
        assert said(place, 1) == (2).to_bytes(8, "little")
        with kernel.open_map(place, "inserting") as sockets:
            sockets.update(bytes(4), server.fileno().to_bytes(8, "little"))
        (program,) = [each for each in kernel.adopt(place).programs if each.name == "ipos_insert"]
        assert kernel.detach(place)
        wait_until("the program has gone", lambda: not program_exists(program.id))
        server.send(b"y")
        assert client.recv(1) == b"y"


def program_exists(number: int) -> bool:
    try:
        os.close(syscall.program_fd_by_id(number))
    except FileNotFoundError:
        return False
    return True


def test_detach_after_the_interfaces_have_gone(objects: Path) -> None:
    with pin_place() as place:
        kernel.load(objects, place)
        with inside_namespace() as gone:
            kernel.attach(place, [Attachment(Hook.XDP, gone.front)])
        assert kernel.detach(place)
        assert not place.exists()
