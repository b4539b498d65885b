# SPDX-License-Identifier: Apache-2.0
"""The Debian package on fresh Debian systems, as an administrator installs it.

debootstrap makes the tree, systemd-nspawn boots three servers from it into the network namespaces
of a lab, and the commands are those of docs/operations.md.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ipos.lab import Lab, Settings, namespaces
from tests.packaging.commands import expect_tools, run
from tests.packaging.conftest import Debian, overlaid
from tests.support.farm import Farm, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.slow]


def test_lintian_finds_no_fault(package: Path) -> None:
    expect_tools("lintian")
    (changes,) = package.parent.glob("*.changes")
    assert run("lintian", "--allow-root", "--fail-on", "error,warning", changes) == ""


class Server:
    """A Debian system that runs in a node of a lab."""

    def __init__(self, root: Path, container: int) -> None:
        self.root = root
        self._children = Path(f"/proc/{container}/task/{container}/children")

    def sh(self, script: str) -> str:
        """A script's output. It must succeed."""
        leader = self._children.read_text().split()  # another one while the container begins
        spaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
        return run("nsenter", "-t", leader[-1], *spaces, "sh", "-ec", script)


@contextmanager
def booted(lab: Lab, name: str, lower: Path, work: Path, package: Path) -> Iterator[Server]:
    with overlaid(lower, work) as root:
        (root / "etc/hostname").write_text(f"{name}\n")
        (root / "etc/machine-id").unlink(missing_ok=True)
        shutil.copy(package, root / "srv/ipos.deb")
        apt = ("chroot", root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq")
        run(*apt, "install", "--yes", "--no-install-recommends", "/srv/ipos.deb")
        container = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "-D", root, "--boot", "--register=no", "--keep-unit",
             f"--machine={lab.name}-{name}", "--capability=all",
             "--system-call-filter=bpf perf_event_open",
             f"--network-namespace-path={namespaces.path_of(lab.name, name)}"],
            env=os.environ | {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes"},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            server = Server(root, container.pid)
            wait_until(f"{name} is up", lambda: _answers(server), 60)
            yield server
        finally:
            container.terminate()
            container.wait(30)


def _answers(server: Server) -> bool:
    try:
        server.sh("systemctl list-units >/dev/null")
    except (AssertionError, IndexError):
        return False
    return True


def test_three_fresh_servers_become_a_farm(debian: Debian, tmp_path: Path) -> None:
    expect_tools("systemd-nspawn")
    lab = Lab(Settings(name=f"deb{os.getpid()}", app="none", bare=True))
    with ExitStack() as stack:
        stack.enter_context(lab)
        servers = [
            stack.enter_context(
                booted(lab, f"s{n}", debian.tree, tmp_path / f"s{n}", debian.package)
            )
            for n in (1, 2, 3)
        ]
        for n, server in enumerate(servers, 1):
            # systemd mounts it on a machine of its own, and not in a container.
            server.sh("mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf")
            (server.root / "var/www/html/index.html").write_text(f"s{n}\n")
            server.sh("systemctl restart nginx")
            if n > 1:
                key = server.root / "etc/ipos/farm.key"
                key.write_bytes((servers[0].root / "etc/ipos/farm.key").read_bytes())
                key.chmod(0o600)
            server.sh(
                "ipos setup --farm shop --front front --back back "
                f"--address 203.0.113.{n} --service web:80 --yes{' --new-farm' * (n == 1)}"
            )
            server.sh("systemctl enable --quiet --now ipos-agent")
        farm = Farm(lab)
        wait_until(
            "all are ready",
            lambda: servers[0].sh("ipos status").startswith("all well: 3 of 3 servers ready"),
            60,
        )
        wait_until("each serves", lambda: len({_asked(farm) for _ in range(20)}) == 3, 60)
        assert servers[0].sh("stat -c %G /run/ipos/api.sock") == "ipos\n"
        # Each agent examines its server with no more than its unit lets it have.
        assert servers[2].sh("ipos doctor --farm").count(": ok\n") == 3
        _lifecycle(servers[1], farm)


def _asked(farm: Farm) -> str:
    with farm.connect() as connection:
        connection.sendall(b"GET / HTTP/1.0\r\nHost: shop.example\r\n\r\n")
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    return answer.rpartition(b"\r\n\r\n")[2].decode().strip()


def _lifecycle(server: Server, farm: Farm) -> None:
    """Reload, a stopped agent whose data plane serves, and nothing left after detach."""
    server.sh("systemctl reload ipos-agent && ipos doctor && systemctl stop ipos-agent")
    assert _asked(farm) in ("s1", "s2", "s3")
    server.sh("systemctl start ipos-agent && ipos server set s2 maint")
    server.sh("systemctl stop ipos-agent && ipos detach && apt-get -qq purge --yes ipos")
    server.sh("! test -e /sys/fs/bpf/ipos && ! test -e /var/lib/ipos")
    assert server.sh("sysctl -n net.ipv4.conf.front.arp_ignore") == "0\n"
    assert not (server.root / "usr/lib/ipos").exists()
