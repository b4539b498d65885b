# SPDX-License-Identifier: Apache-2.0
"""The Ansible role on three fresh Debian systems, by SSH over their back LAN: it makes a farm of
them, changes nothing when it runs again, and has a running agent take a changed file.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ipos.lab import Lab, Settings
from tests.packaging.checkers import checkers
from tests.packaging.commands import ROOT, expect_tools, run
from tests.packaging.conftest import overlaid
from tests.packaging.fresh_server import QUIET, Server, booted
from tests.support.farm import Farm, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.slow]
ANSIBLE = ROOT / "packaging" / "ansible"
NAMES = ("s1", "s2", "s3")
# What Ansible needs of a machine, and what the package depends on: the servers have no network.
NEEDED = ("libbpf1", "openssh-server", "python3-apt")


class Controller:
    """Ansible in the network of the first server, from which the back LAN can be reached."""

    def __init__(self, lab: Lab, package: Path, folder: Path) -> None:
        self._lab, self._folder = lab, folder
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key")
        text = (ANSIBLE / "inventory.example.yml").read_text()
        for before, after in (
            ("ansible_host: 192.0.2.1", "ansible_host: 10.77.0."),
            ("../../dist/ipos_0.1.0_amd64.deb", str(package)),
            ("eth0", "front"),
            ("eth1", "back"),
        ):
            assert before in text
            text = text.replace(before, after)
        (folder / "inventory.yml").write_text(text)

    @property
    def public_key(self) -> str:
        return (self._folder / "key.pub").read_text()

    def play(self, **values: Any) -> tuple[dict[str, int], str]:
        """How much was changed on each server, and all that was said."""
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        values |= {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self._folder / "key"),
            "ansible_ssh_common_args": options,
            "vault_ipos_farm_key": "a secret that this test has made up",
        }
        tools = checkers()
        done = self._lab.run(
            "s1",
            [f"{tools}/ansible-playbook", "-i", f"{self._folder}/inventory.yml",
             "-e", json.dumps(values), f"{ANSIBLE}/site.yml"],
            capture_output=True, text=True, cwd=ANSIBLE, stdin=subprocess.DEVNULL,
            env={"ANSIBLE_HOME": str(self._folder / "ansible"), "ANSIBLE_NOCOLOR": "1",
                 "ANSIBLE_SSH_ARGS": "-o ControlMaster=no", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        found = re.findall(r"^(s\d) .*changed=(\d+)", done.stdout, re.MULTILINE)
        return {name: int(changed) for name, changed in found}, done.stdout


@pytest.fixture
def prepared(tree: Path, tmp_path: Path) -> Iterator[Path]:
    """The fresh tree with what `NEEDED` names."""
    with overlaid(tree, tmp_path / "prepared") as root:
        apt = ("chroot", root, "apt-get", "-qq", "install", "--yes", "--no-install-recommends")
        run(*apt, *NEEDED, env=QUIET)
        yield root


def test_the_role_makes_a_farm_and_keeps_it(prepared: Path, package: Path, tmp_path: Path) -> None:
    expect_tools("systemd-nspawn", "ssh", "ssh-keygen")
    lab = Lab(Settings(name=f"ans{os.getpid()}", app="none", bare=True))
    controller = Controller(lab, package, tmp_path)
    with ExitStack() as stack:
        stack.enter_context(lab)
        servers = [_booted(stack, lab, name, prepared, controller, tmp_path) for name in NAMES]
        changed, _ = controller.play()
        assert all(changed[name] >= 4 for name in NAMES), changed
        wait_until(
            "all are ready",
            lambda: servers[0].sh("ipos status").startswith("all well: 3 of 3 servers ready"),
            60,
        )
        agents = [server.sh("systemctl show -P MainPID ipos-agent") for server in servers]
        changed, _ = controller.play()
        assert changed == dict.fromkeys(NAMES, 0)
        changed, _ = controller.play(ipos_server={"max_connections": 321})
        assert changed == dict.fromkeys(NAMES, 2)  # the file, and the agent that takes it
        assert [server.sh("systemctl show -P MainPID ipos-agent") for server in servers] == agents
        assert "max_connections = 321" in servers[2].sh("ipos config show")
        assert Farm(lab).get().status == 200


def _booted(
    stack: ExitStack, lab: Lab, name: str, lower: Path, controller: Controller, folder: Path
) -> Server:
    root = stack.enter_context(overlaid(lower, folder / name))
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    (root / "root/.ssh/authorized_keys").write_text(controller.public_key)
    server = stack.enter_context(booted(lab, name, root))
    server.sh("systemctl restart ssh")
    return server
