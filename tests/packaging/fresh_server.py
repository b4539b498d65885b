# SPDX-License-Identifier: Apache-2.0
"""Fresh Debian systems that run in the nodes of a lab, by systemd-nspawn."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ipos.lab import Lab, namespaces
from tests.packaging.commands import run
from tests.support.farm import wait_until
from tests.support.typist import Answers, typed

QUIET = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
SHORT = 60
"""Characters of a command in the list of steps."""


@dataclass
class Steps:
    """What was typed where, and how long it took."""

    taken: list[tuple[str, str, float]] = field(default_factory=list)

    @contextmanager
    def step(self, where: str, what: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.taken.append((where, what, time.monotonic() - begin))

    def __str__(self) -> str:
        lines = (f"{where:<4} {s:6.1f} s  {what[:SHORT]}" for where, what, s in self.taken)
        return "\n".join(("", *lines, f"     {sum(one[2] for one in self.taken):6.1f} s  in all"))


class Server:
    """A Debian system that runs in a node of a lab."""

    def __init__(self, root: Path, container: int) -> None:
        self.root = root
        self._children = Path(f"/proc/{container}/task/{container}/children")

    def sh(self, script: str) -> str:
        """A script's output. It must succeed."""
        return run(*self._inside(), "sh", "-ec", script)

    def type(self, line: str, answers: Answers = ()) -> str:
        """A command that is typed at a terminal of the system. It must succeed."""
        status, said = typed((*self._inside(), "sh", "-c", f"cd /srv && {line}"), answers)
        assert status == 0, (line, said)
        return said

    def _inside(self) -> tuple[str, ...]:
        leader = self._children.read_text().split()  # another one while the container begins
        spaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
        return ("nsenter", "-t", leader[-1], *spaces)


def type_in(root: Path, line: str, answers: Answers = ()) -> str:
    """A command in a system that does not run, with the network of this machine."""
    argv = ("chroot", str(root), "sh", "-c", f"cd /srv && {line}")
    status, said = typed(argv, answers, env=QUIET)
    assert status == 0, (line, said[-3000:])
    return said


@contextmanager
def booted(lab: Lab, name: str, root: Path) -> Iterator[Server]:
    """The system of that tree, as the server `name`; its time is not its own to set."""
    (root / "etc/hostname").write_text(f"{name}\n")
    (root / "etc/machine-id").unlink(missing_ok=True)
    container = subprocess.Popen(
        ["systemd-nspawn", "--quiet", "-D", root, "--boot", "--register=no", "--keep-unit",
         f"--machine={lab.name}-{name}", "--capability=all", "--drop-capability=CAP_SYS_TIME",
         "--system-call-filter=bpf perf_event_open",
         f"--network-namespace-path={namespaces.path_of(lab.name, name)}"],
        env=os.environ | {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes"},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        server = Server(root, container.pid)
        wait_until(f"{name} is up", lambda: _answers(server), 60)
        # systemd mounts it on a machine of its own, and not in a container.
        server.sh("mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf")
        (root / "var/www/html/index.html").write_text(f"{name}\n")
        (root / "var/www/html/health").write_text("well\n")
        server.sh("systemctl restart nginx")
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


def setup_answers(n: int, services: Sequence[str] = ("web:80",), *, first: bool) -> Answers:
    """What an administrator types when `ipos setup` asks; empty: what the machine suggests."""
    asked = [
        ("Interface towards clients", "front"),
        ("Interface of the farm's own LAN", "back"),
        ("Name of the farm", "shop"),
        ("Name of this server", ""),
        ("Service addresses of this server", f"203.0.113.{n}"),
        ("Back addresses of all servers", ""),
        ("Services, as web:80", " ".join(services)),
    ]
    if first:
        asked.append(("first server of a new farm?", "y"))
    return [*asked, ("Go on?", "")]
