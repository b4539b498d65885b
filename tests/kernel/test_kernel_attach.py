# SPDX-License-Identifier: Apache-2.0
"""Programs on hooks of a veth pair in a namespace of its own: on, off, replaced, refused."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipos.kernel import data_plane
from ipos.kernel.hooks import Attachment, Hook, xdp_occupant
from ipos.kernel.libbpf import AttachError, SlotTaken
from tests.support.plane import Wire, inside_namespace, pin_place, plane_objects

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
        data_plane.load(objects, directory)
        yield directory


@pytest.fixture
def cgroup() -> Iterator[Path]:
    directory = cgroup_root() / f"tk-{os.getpid()}"
    directory.mkdir()
    yield directory
    directory.rmdir()


def flow(place: Path, key: int) -> bytes | None:
    with data_plane.open_map(place, "flows") as flows:
        return flows.get(key.to_bytes(4, "little"))


def send_frame(ifindex: int, length: int) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((socket.if_indextoname(ifindex), 0))
        sender.send(b"\xff" * 12 + b"\x88\xb5" + bytes(length - 14))


def test_attach_puts_every_program_on_its_hook(wire: Wire, place: Path, cgroup: Path) -> None:
    links = data_plane.attach(place, data_plane.default_plan("front", "back", cgroup))
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
    links = data_plane.attach(place, data_plane.default_plan("front", "front", None))
    assert [link.name for link in links] == [
        f"egress-{wire.front}",
        f"ingress-{wire.front}",
        f"xdp-{wire.front}",
    ]


def test_attach_converges(wire: Wire, place: Path) -> None:
    both = data_plane.attach(place, data_plane.default_plan("front", "back", None))
    assert data_plane.attach(place, data_plane.default_plan("front", "back", None)) == both
    data_plane.attach(place, [Attachment(Hook.XDP, wire.back)])
    assert xdp_occupant(wire.front) == (0, "")
    assert xdp_occupant(wire.back)[1] == "ipos_xdp"


def test_interface_that_came_back_is_attached_anew(wire: Wire, place: Path) -> None:
    data_plane.attach(place, [Attachment(Hook.XDP, wire.front)])
    subprocess.run(["ip", "link", "del", "front"], check=True)
    (dead,) = data_plane.adopt(place).links
    assert dead.target == 0
    command = ["ip", "link", "add", "front", "index", str(wire.front), "type", "veth"]
    subprocess.run([*command, "peer", "name", "back"], check=True)
    (link,) = data_plane.attach(place, [Attachment(Hook.XDP, wire.front)])
    assert link.target == wire.front


def test_taken_slot_is_refused_by_name_and_the_rest_taken_back(
    wire: Wire, place: Path, objects: Path
) -> None:
    with pin_place() as other:
        data_plane.load(objects, other)
        data_plane.attach(other, [Attachment(Hook.XDP, wire.back)])
        with pytest.raises(SlotTaken) as caught:
            data_plane.attach(place, data_plane.default_plan("front", "back", None))
        assert caught.value.program == "ipos_xdp"
        assert f"the XDP slot of back (ifindex {wire.back}) is taken" in str(caught.value)
        assert data_plane.adopt(place).links == ()
        assert xdp_occupant(wire.front) == (0, "")


def test_a_driver_without_native_xdp_is_refused(wire: Wire, place: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    plan = [Attachment(Hook.XDP, socket.if_nametoindex("lo"))]
    with pytest.raises(AttachError, match=r"the driver of lo .* has no native XDP"):
        data_plane.attach(place, plan)


def test_unknown_interface_and_cgroup_are_sentences(wire: Wire, place: Path) -> None:
    with pytest.raises(AttachError, match="there is no interface eth9 here"):
        data_plane.default_plan("eth9", "back", None)
    with pytest.raises(AttachError, match="cannot open the cgroup /nowhere"):
        data_plane.attach(place, data_plane.default_plan("front", "back", "/nowhere"))
    assert data_plane.adopt(place).links == ()


def test_upgrade_replaces_programs_under_their_links(
    wire: Wire, place: Path, tmp_path: Path
) -> None:
    before = data_plane.attach(place, data_plane.default_plan("front", "back", None))
    send_frame(wire.front, 60)
    result = data_plane.upgrade(plane_objects(tmp_path, verdict="XDP_DROP"), place)
    assert result.replaced == ("ipos_xdp",)
    assert set(result.unchanged) == {"ipos_egress", "ipos_ingress", "ipos_sockops"}
    after = data_plane.adopt(place)
    changed = {new.name for old, new in zip(before, after.links, strict=True) if old != new}
    assert changed == {f"xdp-{wire.front}", f"xdp-{wire.back}"}
    assert flow(place, 1) == (60).to_bytes(8, "little")
    assert {link.program_id for link in after.links} <= {p.id for p in after.programs}


def test_detach_leaves_nothing(wire: Wire, objects: Path, cgroup: Path) -> None:
    with pin_place() as place:
        data_plane.load(objects, place)
        data_plane.attach(place, data_plane.default_plan("front", "back", cgroup))
        assert data_plane.detach(place)
        assert not place.exists()
    assert xdp_occupant(wire.front) == xdp_occupant(wire.back) == (0, "")
    shown = subprocess.run(
        ["tc", "filter", "show", "dev", "front", "ingress"], capture_output=True, check=True
    )
    assert shown.stdout == b""


def test_detach_after_the_interfaces_have_gone(objects: Path) -> None:
    with pin_place() as place:
        data_plane.load(objects, place)
        with inside_namespace() as gone:
            data_plane.attach(place, [Attachment(Hook.XDP, gone.front)])
        assert data_plane.detach(place)
        assert not place.exists()
