# SPDX-License-Identifier: Apache-2.0
"""Names of pin directories: one for each server, and one that an earlier release gave."""

from itertools import product
from pathlib import Path

import pytest

from ipos.kernel import pins
from ipos.kernel.libbpf.errors import NotLoaded

NAMES = ("a", "b", "c", "a-b", "b-c", "a_b", "a-b-c", "-", "--", "-a", "a-")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IPOS_PIN_DIR", str(tmp_path))
    for name in ("IPOS_FARM", "IPOS_SERVER"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def _load(path: Path) -> Path:
    """As complete as a look at its name needs."""
    (path / "abi").mkdir(parents=True)
    return path


def test_no_two_servers_have_one_directory() -> None:
    both = list(product(NAMES, repeat=2))
    assert len({pins.pin_directory(farm, server) for farm, server in both}) == len(both)


def test_names_without_hyphens_are_as_before(root: Path) -> None:
    assert pins.pin_directory("shop", "s1") == root / "shop-s1"
    assert pins.pin_directory("my_shop", "s1") == root / "my_shop-s1"


@pytest.mark.parametrize(("farm", "server"), [("a-b", "c"), ("a", "b-c")])
def test_one_of_two_that_were_alike_is_found(
    monkeypatch: pytest.MonkeyPatch, farm: str, server: str
) -> None:
    for names in (("a-b", "c"), ("a", "b-c")):
        _load(pins.pin_directory(*names))
    with pytest.raises(NotLoaded, match="several data planes"):
        pins.find_pin_directory()
    monkeypatch.setenv("IPOS_FARM", farm)
    assert pins.find_pin_directory() == pins.pin_directory(farm, server)
    monkeypatch.delenv("IPOS_FARM")
    monkeypatch.setenv("IPOS_SERVER", server)
    assert pins.find_pin_directory() == pins.pin_directory(farm, server)


def test_a_farm_whose_name_begins_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = _load(pins.pin_directory("shop", "s1"))
    _load(pins.pin_directory("shop-2", "s1"))
    monkeypatch.setenv("IPOS_FARM", "shop")
    assert pins.find_pin_directory() == shop


def test_the_pins_of_an_earlier_release_are_taken_over(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = _load(root / "my-shop-s1")
    monkeypatch.setenv("IPOS_FARM", "my-shop")
    monkeypatch.setenv("IPOS_SERVER", "s1")
    assert pins.find_pin_directory() == earlier, "before its agent is a new one, too"
    pins.take_over_earlier("my-shop", "s1")
    assert pins.find_pin_directory() == pins.pin_directory("my-shop", "s1")
    assert not earlier.exists()
    pins.take_over_earlier("my-shop", "s1")
    other = _load(root / "my-shop-s1")
    pins.take_over_earlier("my-shop", "s1")
    assert other.exists(), "nothing is put over what is there"
