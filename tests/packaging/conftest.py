# SPDX-License-Identifier: Apache-2.0
"""The Debian package of this tree, and fresh Debian systems to install it on."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.commands import ROOT, expect_tools, run

INCLUDED = "ca-certificates,curl,dbus,iproute2,nginx-light,procps,python3,systemd,systemd-sysv"


@pytest.fixture(scope="session")
def package() -> Path:
    expect_tools("dh")
    run("make", "-s", "deb", cwd=ROOT)
    (found,) = (ROOT / "build" / "deb").glob("ipos_*.deb")
    return found


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh Debian of this machine's release; only what every server of it has."""
    expect_tools("debootstrap")
    release = run("sh", "-c", '. /etc/os-release && echo "$VERSION_CODENAME"').strip()
    made = tmp_path_factory.mktemp("debian")
    run("debootstrap", "--variant=minbase", f"--include={INCLUDED}", release, made, timeout_s=900)
    # What waits for an address by DHCP has none to wait for here.
    run("chroot", made, "systemctl", "mask", "systemd-networkd-wait-online.service")
    yield made
    shutil.rmtree(made, ignore_errors=True)
