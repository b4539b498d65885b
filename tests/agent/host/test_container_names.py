# SPDX-License-Identifier: Apache-2.0
"""What containers are called, and which one a configuration means."""

import json
from pathlib import Path

import pytest

from ipos.agent.host import container_names
from ipos.agent.network.wired_namespaces import Seat

NUMBER = "0123456789ab" + "c" * 52
DOCKER = Seat(Path("/proc/7/ns/net"), 4026532001, f"/system.slice/docker-{NUMBER}.scope")
PLAIN = Seat(Path("/run/netns/web"), 4026532002)


@pytest.fixture(autouse=True)
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where engines write what their containers are called: nothing yet."""
    monkeypatch.setattr(container_names, "_DOCKER", tmp_path / "docker")
    monkeypatch.setattr(container_names, "_PODMAN", (tmp_path / "podman.json",))
    return tmp_path


def test_docker_says_what_it_is_called(engines: Path) -> None:
    file = engines / "docker" / NUMBER / "config.v2.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"Name": "/shop"}))
    assert container_names.name_of(DOCKER) == "shop"


def test_podman_says_what_it_is_called(engines: Path) -> None:
    listed = [{"id": "f" * 64, "names": ["other"]}, {"id": NUMBER, "names": ["shop"]}]
    (engines / "podman.json").write_text(json.dumps(listed))
    assert container_names.name_of(DOCKER) == "shop"


@pytest.mark.parametrize("said", ["", "[]", "{}", "null", '[{"id": 7}]'])
def test_what_cannot_be_read_is_called_by_its_id(engines: Path, said: str) -> None:
    (engines / "podman.json").write_text(said)
    assert container_names.name_of(DOCKER) == "0123456789ab"


def test_what_has_no_id_is_called_by_its_namespace_or_cgroup() -> None:
    assert container_names.name_of(PLAIN) == "web"
    assert container_names.name_of(Seat(Path("/proc/7/ns/net"), 9, "/a/pod")) == "pod"
    assert container_names.name_of(Seat(Path("/proc/7/ns/net"), 9)) == "net:[9]"


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ("container:shop", True),
        ("container:sho", False),
        ("container:0123456789ab", True),
        ("container:0123", True),
        ("container:012", False),
        ("cgroup:/system.slice", True),
        (f"cgroup:/system.slice/docker-{NUMBER}.scope", True),
        ("cgroup:/system", False),
        ("netns:/run/netns/none", False),
    ],
)
def test_which_one_is_meant(wanted: str, fits: bool) -> None:
    assert container_names.fits(wanted, "shop", DOCKER) == fits


def test_a_namespace_is_known_by_its_inode(tmp_path: Path) -> None:
    place = tmp_path / "web"
    place.touch()
    seat = Seat(Path("/proc/7/ns/net"), place.stat().st_ino)
    assert container_names.fits(f"netns:{place}", "shop", seat)
