# SPDX-License-Identifier: Apache-2.0
"""The OCI image: built by `make image` on a fresh Debian, and agents that serve from containers.

The images are in a folder of their own, and gone afterwards. No registry is asked: the base is a
tree of debootstrap. The containers have the network of a lab's servers, and else what
packaging/oci/compose.yaml gives them.
"""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ipos import __version__
from ipos.lab import Lab, Settings, namespaces
from tests.packaging.commands import ROOT, expect_tools, run
from tests.support.farm import SERVERS, Farm, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.slow]
CAPABILITIES = ("BPF", "NET_ADMIN", "NET_RAW", "PERFMON")


@dataclass(frozen=True)
class Store:
    """Where buildah and podman keep images and containers of this test."""

    folder: Path

    @property
    def options(self) -> tuple[str, ...]:
        return (
            f"--root={self.folder}/root",
            f"--runroot={self.folder}/run",
            "--storage-driver=vfs",
        )

    def buildah(self, *argv: str | Path) -> str:
        return run("buildah", *self.options, *argv, env=_ENVIRONMENT)


_ENVIRONMENT = os.environ | {"BUILDAH_ISOLATION": "chroot"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    expect_tools("buildah")
    made = Store(tmp_path_factory.mktemp("images"))
    yield made
    made.buildah("rm", "--all")
    made.buildah("rmi", "--all", "--force")
    shutil.rmtree(made.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def image(store: Store, tree: Path) -> str:
    container = store.buildah("from", "scratch").strip()
    mounted = store.buildah("mount", container).strip()
    run("cp", "-a", f"{tree}/.", mounted)
    store.buildah("umount", container)
    store.buildah("commit", "--quiet", container, "localhost/fresh-debian")
    run(
        "make", "-s", "image", "IMAGE=localhost/ipos:test", "IMAGE_BASE=localhost/fresh-debian",
        f"BUILDAH=buildah {' '.join(store.options)}", cwd=ROOT, env=_ENVIRONMENT, timeout_s=900,
    )  # fmt: skip
    return "localhost/ipos:test"


def test_the_command_is_in_the_image(store: Store, image: str) -> None:
    container = store.buildah("from", image).strip()
    assert store.buildah("run", container, "ipos", "--version").split() == ["ipos", __version__]


class Containers:
    """Containers of the image that have the network and the directories of one server."""

    def __init__(self, store: Store, image: str, lab: Lab, server: str, folder: Path) -> None:
        self.folder = folder
        self._podman = ("podman", *store.options, "--runtime=runc", "--cgroup-manager=cgroupfs")
        self._image = image
        self._farm, self._server = lab.name, server
        self._name = f"{lab.name}-{server}"
        for each in _MOUNTS:
            (folder / each).mkdir(parents=True)
        self._options = (
            "--cgroupns=host", "--log-driver=k8s-file", *_own_limits(), "--cap-drop=ALL",
            *(f"--cap-add={one}" for one in CAPABILITIES),
            "--security-opt=unmask=ALL", "--security-opt=no-new-privileges",
            "--security-opt=seccomp=unconfined",
            f"--network=ns:{namespaces.path_of(lab.name, server)}",
            *(f"--volume={folder}/{each}:{where}" for each, where in _MOUNTS.items()),
            "--volume=/sys/fs/bpf:/sys/fs/bpf", "--volume=/sys/fs/cgroup:/sys/fs/cgroup",
        )  # fmt: skip

    def once(self, *argv: str) -> str:
        return run(*self._podman, "run", "--rm", *self._options, self._image, *argv)

    def inside(self, *argv: str) -> str:
        return run(*self._podman, "exec", self._name, *argv)

    def log(self) -> str:
        """What it has said, to stdout or stderr."""
        argv = (*self._podman, "logs", self._name)
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    @contextmanager
    def agent(self) -> Iterator[None]:
        """As its main process; the data plane is taken away at the end."""
        run(*self._podman, "run", "--detach", f"--name={self._name}", *self._options, self._image)
        try:
            yield
            run(*self._podman, "stop", "--time=20", self._name)
        finally:
            run(*self._podman, "rm", "--force", "--time=1", self._name)
            # The three share this machine's bpffs, so the command must be told which is meant.
            self.once("detach", "--farm", self._farm, "--server", self._server)


def _own_limits() -> tuple[str, ...]:
    """Those of this process, or what podman makes of them: it would raise the first to the largest
    there is, which root may not do everywhere, and lower the second one for itself.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = int(Path("/proc/sys/kernel/pid_max").read_text())
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    processes = most if processes == resource.RLIM_INFINITY else min(processes, most)
    return f"--ulimit=nofile={files}:{files}", f"--ulimit=nproc={processes}:{processes}"


_MOUNTS = {"etc": "/etc/ipos", "run": "/run/ipos", "lib": "/var/lib/ipos"}


def test_agents_in_containers_serve(store: Store, image: str, tmp_path: Path) -> None:
    expect_tools("podman", "runc")
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(Settings(name=f"oci{os.getpid()}", bare=True)))
        servers: list[Containers] = []
        for n in (1, 2, 3):
            server = Containers(store, image, lab, f"s{n}", tmp_path / f"s{n}")
            if servers:
                shutil.copy(servers[0].folder / "etc/farm.key", server.folder / "etc/farm.key")
            server.once(
                "setup", "--farm", lab.name, "--server", f"s{n}", "--front", "front",
                "--back", "back", "--address", f"203.0.113.{n}", "--service", "web:80", "--yes",
                *["--new-farm"] * (not servers),
            )  # fmt: skip
            stack.enter_context(server.agent())
            servers.append(server)
        farm = Farm(lab)
        wait_until(
            "all are ready",
            lambda: "3 of 3 servers ready" in servers[0].inside("ipos", "status"),
            60,
        )
        wait_until(
            "each serves", lambda: {farm.get().served_by for _ in range(20)} == set(SERVERS), 60
        )
        assert "serving" in servers[0].log()
