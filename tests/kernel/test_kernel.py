# SPDX-License-Identifier: Apache-2.0
"""Loading and pinning, with tiny programs: what is there afterwards, and what is refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ipos.kernel import build, data_plane, pins
from ipos.kernel.libbpf import (
    AbiMismatch,
    AlreadyLoaded,
    KernelError,
    LoadError,
    NotLoaded,
    PinError,
)
from tests.support.plane import UNBOUNDED, compile_objects, pin_place, plane_objects, run_xdp

pytestmark = pytest.mark.farm


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plane_objects(tmp_path_factory.mktemp("plane"))


@pytest.fixture
def place() -> Iterator[Path]:
    with pin_place() as directory:
        yield directory


def test_load_pins_every_map_and_program_and_attaches_nothing(objects: Path, place: Path) -> None:
    plane = data_plane.load(objects, place)
    assert plane.abi == 7
    assert set(plane.maps) == {"counts", "deny", "events", "flows", "hold_free", "hold_pool"}
    assert [p.name for p in plane.programs] == [
        "ipos_egress",
        "ipos_ingress",
        "ipos_sockops",
        "ipos_xdp",
    ]
    assert plane.links == ()
    assert data_plane.adopt(place) == plane


def test_objects_share_maps_by_name(objects: Path, place: Path) -> None:
    data_plane.load(objects, place)
    run_xdp(place, bytes(90))
    with data_plane.open_map(place, "flows") as flows:
        assert flows.get(b"\1\0\0\0") == (90).to_bytes(8, "little")


def test_free_list_starts_with_every_index(objects: Path, place: Path) -> None:
    data_plane.load(objects, place)
    with data_plane.open_map(place, "hold_free") as free:
        taken = [int.from_bytes(free.pop() or b"", "little") for _ in range(8)]
        assert taken == list(range(8))
        assert free.pop() is None


def test_map_sizes_are_set_before_loading(objects: Path, place: Path) -> None:
    data_plane.load(objects, place, {"flows": 5})
    with data_plane.open_map(place, "flows") as flows:
        assert flows.max_entries == 5


def test_size_for_an_unknown_map_is_refused_and_leaves_nothing(objects: Path, place: Path) -> None:
    with pytest.raises(LoadError, match="no object has a map called flwos"):
        data_plane.load(objects, place, {"flwos": 5})
    assert not place.exists()


def test_second_load_is_refused(objects: Path, place: Path) -> None:
    data_plane.load(objects, place)
    with pytest.raises(AlreadyLoaded, match="upgrade it, or detach it first"):
        data_plane.load(objects, place)


def test_half_loaded_plane_is_replaced(objects: Path, place: Path) -> None:
    data_plane.load(objects, place)
    (place / "abi").unlink()
    with pytest.raises(NotLoaded):
        data_plane.adopt(place)
    assert data_plane.load(objects, place).abi == 7


def test_verifier_refusal_carries_its_log_and_leaves_nothing(
    objects: Path, place: Path, tmp_path: Path
) -> None:
    bad = compile_objects(tmp_path, bad="const volatile __u32 ipos_abi = 1;\n" + UNBOUNDED)
    with pytest.raises(LoadError) as caught:
        data_plane.load(bad, place)
    assert "cannot load bad.bpf.o: Permission denied (EACCES)" in str(caught.value)
    assert "invalid access to packet" in caught.value.log
    assert "\n" not in str(caught.value)
    assert not place.exists()


def test_object_that_is_none_is_refused(place: Path, tmp_path: Path) -> None:
    (tmp_path / "xdp.bpf.o").write_bytes(b"not an object")
    with pytest.raises(LoadError, match="no eBPF object file"):
        data_plane.load(tmp_path, place)


def test_directory_without_objects_is_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no compiled data plane"):
        data_plane.load(tmp_path, place)


def test_objects_of_two_abis_are_refused(place: Path, tmp_path: Path) -> None:
    mixed = compile_objects(
        tmp_path,
        one="const volatile __u32 ipos_abi = 1;",
        two="const volatile __u32 ipos_abi = 2;",
    )
    with pytest.raises(AbiMismatch, match="of several ABIs"):
        data_plane.load(mixed, place)


def test_directory_outside_bpffs_is_refused(objects: Path, tmp_path: Path) -> None:
    with pytest.raises(PinError, match="not in a bpf file system"):
        data_plane.load(objects, tmp_path / "pins")


def test_nothing_loaded_is_a_sentence(place: Path) -> None:
    with pytest.raises(NotLoaded, match="no data plane is loaded at"):
        data_plane.adopt(place)
    assert not data_plane.detach(place)


def test_upgrade_of_another_abi_is_refused(objects: Path, place: Path, tmp_path: Path) -> None:
    data_plane.load(objects, place)
    before = data_plane.adopt(place)
    with pytest.raises(AbiMismatch, match=r"has ABI 7, .* have ABI 8: drain this server"):
        data_plane.upgrade(plane_objects(tmp_path, abi=8), place)
    assert data_plane.adopt(place) == before


def test_who_goes_by_another_abi_is_told_so(objects: Path, place: Path) -> None:
    data_plane.load(objects, place)
    data_plane.expect(place, 7)
    with pytest.raises(AbiMismatch, match=r"has ABI 7 and goes on serving, .* for ABI 8: .*drain"):
        data_plane.expect(place, 8)


def test_it_is_known_which_files_the_programs_came_from(
    objects: Path, place: Path, tmp_path: Path
) -> None:
    other = plane_objects(tmp_path / "other", stamp=2)
    data_plane.load(objects, place)
    assert (build.compare(place, objects), build.compare(place, other)) == ("current", "other")
    data_plane.upgrade(other, place)
    assert (build.compare(place, objects), build.compare(place, other)) == ("other", "current")
    (place / "built").unlink()  # as an older version leaves it
    assert build.compare(place, other) == "unknown"
    assert data_plane.upgrade(other, place).replaced == ()
    assert build.compare(place, other) == "current"


def test_map_of_another_shape_is_refused(objects: Path, place: Path, tmp_path: Path) -> None:
    data_plane.load(objects, place)
    other = compile_objects(
        tmp_path,
        xdp="""const volatile __u32 ipos_abi = 7;
        struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8);
                 __type(key, __u32); __type(value, __u32); } hold_pool SEC(".maps");
        SEC("xdp") int ipos_xdp(void *ctx)
        { __u32 k = 0; return bpf_map_lookup_elem(&hold_pool, &k) ? 1 : 2; }""",
    )
    with pytest.raises(AbiMismatch, match="map hold_pool"):
        data_plane.upgrade(other, place)
    assert not (place / "progs-new").exists()


def test_upgrade_compares_tags_and_constants(objects: Path, place: Path, tmp_path: Path) -> None:
    data_plane.load(objects, place)
    same = data_plane.upgrade(objects, place)
    assert same.replaced == ()
    changed = data_plane.upgrade(plane_objects(tmp_path / "stamp", stamp=2), place)
    assert changed.replaced == ("ipos_xdp",)
    run_xdp(place)
    with data_plane.open_map(place, "counts") as counts:
        values = counts.get_per_cpu(b"\1\0\0\0") or []
        assert sum(int.from_bytes(v, "little") for v in values) == 2


def test_find_pin_directory(objects: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPOS_PIN_DIR", str(place))
    with pytest.raises(NotLoaded, match="no data plane is loaded here"):
        pins.find_pin_directory()
    first = pins.pin_directory("shop.example", "s1")
    assert first == place / "shop_example-s1"
    data_plane.load(objects, first)
    assert pins.find_pin_directory() == first
    data_plane.load(objects, pins.pin_directory("shop.example", "s2"))
    with pytest.raises(NotLoaded, match="several data planes"):
        pins.find_pin_directory()
    for name in ("s1", "s2"):
        data_plane.detach(pins.pin_directory("shop.example", name))
    assert not place.exists()


def test_errors_are_one_family() -> None:
    assert issubclass(LoadError, KernelError)
