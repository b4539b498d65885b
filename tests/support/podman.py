# SPDX-License-Identifier: Apache-2.0
"""Containers of Podman in the servers of a lab, with Podman's own bridge network and its NAT.

No registry is asked: what is in a container is copied from this machine. Podman runs inside the
network namespace of a server, so the bridge, the pair of interfaces and the rules of the firewall
are made there.
"""

import os
import resource
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ipos.agent.host.paths import cgroup_root
from ipos.lab import Lab

TOOLS = ("podman", "runc", "nginx")
NGINX = "/usr/sbin/nginx"
_PAGE = """\
user root; daemon off; worker_processes 1; pid /run/nginx.pid; error_log stderr;
events {{}}
http {{
  access_log off;
  server {{
    listen {port};
    root /srv;
    add_header X-Served-By {name};
    add_header X-Client $remote_addr;
    location = / {{ return 200 "ok\\n"; }}
  }}
}}
"""


def tree(folder: Path, program: str) -> Path:
    """A root directory with one program, its libraries, and what nginx needs besides."""
    for each in ("etc", "run", "tmp", "proc", "sys", "dev", "srv", "var/log/nginx",
                 "var/lib/nginx"):  # fmt: skip
        (folder / each).mkdir(parents=True, exist_ok=True)
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    libraries = [word for word in said.split() if word.startswith("/")]
    for each in (program, *libraries):
        to = folder / each.lstrip("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(Path(each).read_bytes())
        to.chmod(0o755)
    (folder / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\n")
    return folder


def page(root: Path, name: str, port: int) -> None:
    """nginx in this tree answers at this port, and says that it is `name`."""
    file = root / "etc/nginx/nginx.conf"
    file.parent.mkdir(exist_ok=True)
    file.write_text(_PAGE.format(name=name, port=port))


@dataclass(frozen=True)
class Podman:
    """The engine of one server. folder: of its own, for all that it keeps."""

    lab: Lab
    server: str
    folder: Path

    def __call__(self, *argv: str | Path) -> str:
        done = self.lab.run(
            self.server,
            ["podman", f"--root={self.folder}/root", f"--runroot={self.folder}/run",
             f"--network-config-dir={self.folder}/net", "--storage-driver=vfs", "--runtime=runc",
             "--cgroup-manager=cgroupfs", *map(str, argv)],
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, (argv, done.stdout, done.stderr)
        return str(done.stdout).strip()

    def start(self, name: str, root: Path, *command: str, options: tuple[str, ...] = ()) -> str:
        """A container in the engine's own bridge network. Its id."""
        return self(
            "run", "--detach", f"--name={name}", "--network=podman", "--log-driver=k8s-file",
            "--security-opt=seccomp=unconfined", f"--cgroup-parent={self._cgroup}",
            *_own_limits(), *options, "--rootfs", root,
            *command,
        )  # fmt: skip

    @property
    def _cgroup(self) -> str:
        """Of the server's, where the data plane sees sockets, as it sees all of a real server's."""
        return f"/{self.lab.place(self.server).cgroup.relative_to(cgroup_root())}"

    def remove(self) -> None:
        """All of its containers, and what else they leave: their cgroups of version 1."""
        self("rm", "--all", "--force", "--time=0")
        for mount in cgroup_root().parent.iterdir():
            place = mount / self._cgroup.lstrip("/")
            for each in (place / "conmon", place, place.parent):
                with suppress(OSError):  # the lab's own, or another server's, too
                    each.rmdir()


def _own_limits() -> tuple[str, ...]:
    """Those of this process: podman would raise them, which root may not do everywhere."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = int(Path("/proc/sys/kernel/pid_max").read_text())
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    processes = most if processes == resource.RLIM_INFINITY else min(processes, most)
    return f"--ulimit=nofile={files}:{files}", f"--ulimit=nproc={processes}:{processes}"


def go_program(folder: Path, source: Path) -> Path:
    """Compiled, without libraries of the machine's."""
    made = folder / source.stem
    settings = {"GOCACHE": str(folder / "cache"), "GO111MODULE": "off", "CGO_ENABLED": "0"}
    command = ["go", "build", "-o", str(made), str(source)]
    subprocess.run(command, check=True, env={**os.environ, **settings})
    return made
