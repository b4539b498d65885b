# SPDX-License-Identifier: Apache-2.0
"""Where a node of a lab is on this machine, and how a command is run there.

A command is prefixed by a launcher instead of hooks between fork and exec: a shell puts itself into
the cgroup, nsenter changes the network namespace, and each execs the next. So one and the same
prefix serves `lab exec`, which replaces itself, and everything the lab starts. Sockets belong to
the cgroup and namespace their process was in when they were made, hence both come first.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ipos.kernel.pins import directory_name
from ipos.lab import cgroups, namespaces
from ipos.lab.errors import LabError
from ipos.lab.plan import BOX

ROOT = Path("/run/ipos/lab")
BPFFS = Path("/sys/fs/bpf")
PINS = BPFFS / "ipos"

_JOIN = 'echo 0 >"$1" && shift && exec "$@"'


@dataclass(frozen=True, slots=True)
class Place:
    """One node of one lab, as the machine knows it."""

    lab: str
    node: str
    inside: bool = False
    """In the container of its application: its network namespace is another one, and no more."""

    @property
    def namespace(self) -> Path:
        return namespaces.path_of(self.lab, self.node + BOX * self.inside)

    def boxed(self) -> "Place":
        """The same node, in the container of its application."""
        return replace(self, inside=True)

    @property
    def cgroup(self) -> Path:
        return cgroups.path_of(self.lab, self.node)

    @property
    def run_dir(self) -> Path:
        return ROOT / self.lab / self.node

    @property
    def pin_dir(self) -> Path:
        return PINS / f"{self.lab}-{self.node}"

    @property
    def maps_dir(self) -> Path:
        """The pinned maps of the server's data plane; its farm has the lab's name."""
        return self.pin_dir / directory_name(self.lab, self.node) / "maps"

    @property
    def config_file(self) -> Path:
        return self.run_dir / "ipos.toml"

    @property
    def agent_cgroup(self) -> Path:
        return self.cgroup / "agent"

    @property
    def app_cgroup(self) -> Path:
        return self.cgroup / "app"

    def environment(self) -> dict[str, str]:
        """This process's environment, with what makes the `ipos` command talk to the node."""
        environment = dict(os.environ)
        binaries = str(Path(sys.executable).parent)
        path = environment.get("PATH", os.defpath).split(os.pathsep)
        if binaries not in path:
            path.insert(0, binaries)
        environment |= {
            "PATH": os.pathsep.join(path),
            "IPOS_NODE": self.node,
            "IPOS_CONFIG": str(self.config_file),
            "IPOS_PIN_DIR": str(self.pin_dir),
            "IPOS_RUN_DIR": str(self.run_dir),
            "IPOS_CGROUP": str(self.cgroup),
        }
        return environment

    def command(self, argv: Sequence[str], cgroup: Path | None = None) -> list[str]:
        """`argv` as it must be started to run inside the node."""
        members = (cgroup or self.cgroup) / "cgroup.procs"
        enter = ["nsenter", f"--net={self.namespace}", "--", *argv]
        return ["sh", "-c", _JOIN, "sh", str(members), *enter]

    def exec(self, argv: Sequence[str]) -> None:
        """Become the command inside the node: streams, signals and exit status are its own."""
        command = self.command(argv)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execvpe(command[0], command, self.environment())

    def popen(
        self, argv: Sequence[str], *, cgroup: Path | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a command inside the node. options: Popen's; an `env` adds to the node's."""
        options["env"] = self.environment() | dict(options.get("env") or {})
        return subprocess.Popen(self.command(argv, cgroup), **options)

    def run(
        self, argv: Sequence[str], *, cgroup: Path | None = None, **options: Any
    ) -> subprocess.CompletedProcess[Any]:
        """Run a command inside the node to its end. options: subprocess.run's; `env` adds."""
        options["env"] = self.environment() | dict(options.get("env") or {})
        return subprocess.run(self.command(argv, cgroup), **options)

    def spawn(
        self, argv: Sequence[str], cgroup: Path, log: Path, pass_fds: Sequence[int] = ()
    ) -> None:
        """Start a daemon in `cgroup`, which lives on when this process ends; output goes to `log`.

        It is handed to init at once, so nobody need wait for it: its cgroup tells whether it
        lives. LabError if it could not be forked off at all.
        """
        cgroup.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            done = self.run(
                ["setsid", "--fork", *argv],
                cgroup=cgroup,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=pass_fds,
            )
        if done.returncode != 0:
            raise LabError(f"cannot start {argv[0]} in {self.node} of {self.lab}{tail_of(log)}")


def tail_of(log: Path, lines: int = 8) -> str:
    """The end of a log, put so that it can follow the sentence of an error message."""
    try:
        last = log.read_text(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        last = []
    if not last:
        return f"; its log {log} is empty"
    return f"; the end of {log}:\n" + "\n".join(f"    {line}" for line in last)
