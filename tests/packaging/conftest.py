# SPDX-License-Identifier: Apache-2.0
"""The Debian package of this tree, and fresh Debian systems to install it on."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packaging.commands import ROOT, expect_tools, run

INCLUDED = "ca-certificates,curl,dbus,iproute2,nginx-light,procps,python3,systemd,systemd-sysv"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Debian:
    """A fresh system as a tree of files that nobody writes to, and the package made for it."""

    release: str
    tree: Path
    package: Path


def own_release() -> str:
    return run("sh", "-c", '. /etc/os-release && echo "$VERSION_CODENAME"').strip()


@pytest.fixture(scope="session")
def package() -> Path:
    expect_tools("dh")
    run("make", "-s", "deb", cwd=ROOT, timeout_s=1800)
    (found,) = (ROOT / "build" / "deb").glob("ipos_*.deb")
    return found


@contextmanager
def fresh(release: str, made: Path) -> Iterator[Path]:
    """A tree of debootstrap; only what every server has."""
    expect_tools("debootstrap")
    run("debootstrap", "--variant=minbase", f"--include={INCLUDED}", release, made, timeout_s=900)
    # What waits for an address by DHCP has none to wait for here.
    run("chroot", made, "systemctl", "mask", "systemd-networkd-wait-online.service")
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh Debian of this machine's release."""
    with fresh(own_release(), tmp_path_factory.mktemp("debian")) as made:
        yield made


@contextmanager
def overlaid(lower: Path, work: Path) -> Iterator[Path]:
    """A tree that may be written to and leaves the one below as it is."""
    for each in ("upper", "work", "root"):
        (work / each).mkdir(parents=True)
    layers = f"lowerdir={lower},upperdir={work}/upper,workdir={work}/work"
    run("mount", "-t", "overlay", "overlay", "-o", layers, work / "root")
    try:
        yield work / "root"
    finally:
        run("umount", "--lazy", work / "root")


def build(tree: Path, work: Path) -> Path:
    """`make deb` in a fresh system that has make and nothing else for it; the package."""
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    with overlaid(tree, work) as root:
        for name in files.splitlines():
            if (ROOT / name).is_file():
                (root / "srv/ipos" / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, root / "srv/ipos" / name)
        for name in ("dev", "proc", "sys"):
            run("mount", "--rbind", "--make-rslave", f"/{name}", root / name)
        try:
            apt = "apt-get -qq update && apt-get -qq install --yes --no-install-recommends make"
            inside = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
            run("chroot", root, "sh", "-c", apt, env=inside)
            # The certificates that this machine believes: its network may have one of its own.
            shutil.copy(CERTIFICATES, root / str(CERTIFICATES).lstrip("/"))
            run("chroot", root, "make", "-s", "-C", "/srv/ipos", "deb", env=inside, timeout_s=1800)
        finally:
            for name in ("dev", "proc", "sys"):
                run("umount", "--recursive", "--lazy", root / name)
        (found,) = (root / "srv/ipos/dist").glob("ipos_*.deb")
        return Path(shutil.copy(found, work / found.name))


@pytest.fixture(scope="session", params=["bookworm", "trixie"])
def debian(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Debian]:
    """Debian 12 and 13, with packages made on machines of the same release."""
    release: str = request.param
    if release == own_release():
        yield Debian(release, *(request.getfixturevalue(name) for name in ("tree", "package")))
        return
    with fresh(release, tmp_path_factory.mktemp(release)) as made:
        yield Debian(release, made, build(made, tmp_path_factory.mktemp("build") / "in"))
