# SPDX-License-Identifier: Apache-2.0
"""The Debian package and the wheel on fresh Debian systems, as an administrator installs them.

debootstrap makes the tree, systemd-nspawn boots servers from it into the network namespaces of a
lab, and what is typed there is what docs/operations.md and README.md show, line by line. The steps
and their times are printed (pytest -s).
"""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from ipos.lab import Lab, Settings
from tests.packaging.commands import ROOT, expect_tools, run
from tests.packaging.conftest import CERTIFICATES, Debian, overlaid
from tests.packaging.fresh_server import Server, Steps, booted, setup_answers, type_in
from tests.packaging.shown_commands import block
from tests.support.farm import Farm, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.slow]
INSTALL = ("docs/operations.md", "## Install")
GO_ON = [("continue? [Y/n]", "y")]


def test_lintian_finds_no_fault(package: Path) -> None:
    expect_tools("lintian")
    (changes,) = package.parent.glob("*.changes")
    assert run("lintian", "--allow-root", "--fail-on", "error,warning", changes) == ""


def test_three_fresh_servers_become_a_farm(debian: Debian, tmp_path: Path) -> None:
    expect_tools("systemd-nspawn")
    lines, steps = block(*INSTALL, "apt install"), Steps()
    lab = Lab(Settings(name=f"deb{os.getpid()}", app="none", bare=True))
    with ExitStack() as stack:
        stack.enter_context(lab)
        servers: list[Server] = []
        for n in (1, 2, 3):
            name = f"s{n}"
            root = stack.enter_context(overlaid(debian.tree, tmp_path / name))
            shutil.copy(debian.package, root / "srv")
            with steps.step(name, lines[0]):
                type_in(root, lines[0], GO_ON)
            server = stack.enter_context(booted(lab, name, root))
            if servers:
                _take_key(server, servers[0])
            _type_all(server, lines[1:], n, steps)
            servers.append(server)
        farm = Farm(lab)
        wait_until("all are ready", lambda: _all_well(servers[0], 3), 60)
        with steps.step("c1", "the first requests"):
            wait_until("each serves", lambda: len({_asked(farm) for _ in range(20)}) == 3, 60)
        assert servers[0].sh("stat -c %G /run/ipos/api.sock") == "ipos\n"
        _day_to_day(servers[1])
        # Each agent examines its server with no more than its unit lets it have.
        assert servers[2].sh("ipos doctor --farm").count(": ok\n") == 3
        _lifecycle(servers[1], farm)
        print(debian.release, steps)


def test_the_wheel_on_a_fresh_server(debian: Debian, wheel: Path, tmp_path: Path) -> None:
    expect_tools("systemd-nspawn")
    lines, steps = block(*INSTALL, "python3 -m venv"), Steps()
    lab = Lab(Settings(name=f"whl{os.getpid()}", servers=1, app="none", bare=True))
    with ExitStack() as stack:
        stack.enter_context(lab)
        root = stack.enter_context(overlaid(debian.tree, tmp_path / "s1"))
        shutil.copy(wheel, root / "srv")
        shutil.copy(CERTIFICATES, root / str(CERTIFICATES).lstrip("/"))
        type_in(root, "apt install --yes --no-install-recommends libbpf1 iproute2 python3-venv")
        online = lines.index("ipos setup")
        for line in lines[:online]:
            with steps.step("s1", line):
                type_in(root, line)
        server = stack.enter_context(booted(lab, "s1", root))
        _type_all(server, lines[online:], 1, steps)
        wait_until("it is ready", lambda: _all_well(server, 1), 60)
        assert _asked(Farm(lab)) == "s1"
        server.sh("systemctl stop ipos-agent && ipos detach")
        print(debian.release, steps)


def _all_well(server: Server, number: int) -> bool:
    return server.sh("ipos status").startswith(f"all well: {number} of {number} servers ready")


def _take_key(server: Server, other: Server) -> None:
    """As the page says: the key of the first server goes to every other one."""
    key = server.root / "etc/ipos/farm.key"
    key.write_bytes((other.root / "etc/ipos/farm.key").read_bytes())
    key.chmod(0o600)


def _type_all(server: Server, lines: list[str], n: int, steps: Steps) -> None:
    """Each line at the server's terminal; the questions of `ipos setup` are answered."""
    for line in lines:
        asked = setup_answers(n, first=n == 1) if line == "ipos setup" else ()
        with steps.step(f"s{n}", line):
            said = server.type(line, asked)
        if asked:
            assert "written: /etc/ipos/ipos.toml" in said


def _asked(farm: Farm) -> str:
    with farm.connect() as connection:
        connection.sendall(b"GET / HTTP/1.0\r\nHost: shop.example\r\n\r\n")
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    return answer.rpartition(b"\r\n\r\n")[2].decode().strip()


def _day_to_day(server: Server) -> None:
    """What README and the page show of a farm that runs, as far as it ends by itself."""
    page = "docs/operations.md"
    for heading, beginning in (
        ("## Drain, stop, upgrade", "ipos drain s2 --wait --deadline"),
        ("## Drain, stop, upgrade", "curl "),
        ("## Who holds an address", "ipos address list"),
        ("## Who gets how much", "ipos server set"),
        ("## What to look at", "ipos doctor --farm"),
    ):
        for line in block(page, heading, beginning):
            server.type(line)
    for line in block(page, "### Access log", "curl ")[:2]:
        server.type(line)
    server.type(block(page, "## What to look at", "ipos explain")[0])
    server.type("ipos config check")
    wait_until("it is ready again", lambda: _all_well(server, 3), 60)
    assert "FIX" not in server.type("ipos doctor")


def _lifecycle(server: Server, farm: Farm) -> None:
    """Reload, a stopped agent whose data plane serves, and nothing left after detach."""
    server.sh("systemctl reload ipos-agent && ipos doctor && systemctl stop ipos-agent")
    assert _asked(farm) in ("s1", "s2", "s3")
    server.sh("systemctl start ipos-agent && ipos server set s2 maint")
    server.sh("systemctl stop ipos-agent && ipos detach && apt-get -qq purge --yes ipos")
    server.sh("! test -e /sys/fs/bpf/ipos && ! test -e /var/lib/ipos")
    assert server.sh("sysctl -n net.ipv4.conf.front.arp_ignore") == "0\n"
    assert not (server.root / "usr/lib/ipos").exists()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of `make wheel`."""
    run("make", "-s", "wheel", cwd=ROOT, timeout_s=900)
    newest = max((ROOT / "dist").glob("ipos-*.whl"), key=lambda file: file.stat().st_mtime)
    return Path(shutil.copy(newest, tmp_path_factory.mktemp("wheel")))
