# SPDX-License-Identifier: Apache-2.0
"""Image, compose file, Ansible role, DaemonSet, Nomad job and Grafana's dashboard: they agree with
each other and with the unit, and their own tools find no fault in them.

No package of `nomad` that reads this job has a free licence, so the job is held against a reader of
its language, and against the names that Nomad knows.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ipos import __version__
from ipos.config import load
from tests.packaging.checkers import checkers
from tests.packaging.dashboard_types import lost
from tests.packaging.job_keys import not_known

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
COMPOSE = PACKAGING / "oci" / "compose.yaml"
DAEMON_SET = PACKAGING / "kubernetes" / "daemonset.yaml"
JOB = PACKAGING / "nomad" / "ipos.nomad.hcl"
ROLE = PACKAGING / "ansible" / "roles" / "ipos"
PLAYBOOK = PACKAGING / "ansible" / "site.yml"
INVENTORY = PACKAGING / "ansible" / "inventory.example.yml"


@pytest.mark.parametrize("file", [COMPOSE, DAEMON_SET, JOB], ids=lambda file: file.name)
def test_they_run_this_version_with_the_hosts_directories(file: Path) -> None:
    text = file.read_text()
    assert re.findall(r"[./]ipos:(\d[\d.]*\d)", text) == [__version__]
    for directory in ("/etc/ipos", "/run/ipos", "/var/lib/ipos", "/sys/fs/bpf"):
        assert text.count(directory) >= 2, directory


def test_a_container_has_the_capabilities_of_the_unit() -> None:
    unit = (PACKAGING / "ipos-agent.service").read_text()
    (line,) = re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
    added = re.search(r"cap_add:\n((?:\s+- .*\n)+)", COMPOSE.read_text())
    assert added is not None
    assert {f"CAP_{name}" for name in re.findall(r"- (\w+)", added[1])} == set(line.split())


def test_each_variable_of_the_role_is_described() -> None:
    described = set(re.findall(r"^ {6}(ipos_\w+):", _read("meta/argument_specs.yml"), re.MULTILINE))
    used = set()
    for file in ROLE.rglob("*"):
        if file.is_file() and file.name != "argument_specs.yml":
            used |= set(re.findall(r"\bipos_\w+", file.read_text()))
    registered = set(re.findall(r"register: (\w+)", _read("tasks/main.yml")))
    assert used - registered == described


def _read(name: str) -> str:
    return (ROLE / name).read_text()


@pytest.fixture(scope="module")
def tools() -> Path:
    """The folder of the tools' commands."""
    return checkers()


def _run(tools: Path, *argv: str | Path, **more: str) -> str:
    environment = os.environ | {
        "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ANSIBLE_HOME": str(ROOT / "build" / "ansible"),
        "ANSIBLE_ROLES_PATH": str(ROLE.parent),
        "ANSIBLE_NOCOLOR": "1",
        "NO_COLOR": "1",
        **more,
    }
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, env=environment, cwd=PLAYBOOK.parent
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_ansible_takes_the_role(tools: Path) -> None:
    _run(tools, "ansible-playbook", "--syntax-check", "-i", INVENTORY, PLAYBOOK)
    said = _run(tools, "ansible-lint", "--offline", "--profile", "production", PLAYBOOK, INVENTORY)
    assert "0 failure(s), 0 warning(s)" in said


@pytest.mark.slow
def test_the_role_writes_what_the_agent_takes_and_changes_nothing_twice(
    tools: Path, tmp_path: Path
) -> None:
    play = {
        "hosts": "ipos",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.include_role": {"name": "ipos", "tasks_from": "configuration"}}
        ],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))  # which YAML is, too
    values = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ipos_directory": f"{tmp_path}/{{{{ inventory_hostname }}}}",
        "vault_ipos_farm_key": "a secret of the test",
        "ipos_farm": {"discover": False},
        "ipos_server": {"max_connections": 500},
        "ipos_started": {"changed": True},  # there is no agent to reload
    }
    argv = (
        "ansible-playbook", "-i", INVENTORY, "-e", json.dumps(values), tmp_path / "play.yml",
    )  # fmt: skip
    first, second = _run(tools, *argv), _run(tools, *argv)
    assert re.findall(r"changed=(\d+)", first) == ["3"] * 3
    assert re.findall(r"changed=(\d+)", second) == ["0"] * 3
    for name, address in (("s1", "203.0.113.1"), ("s3", "203.0.113.3")):
        config = load(tmp_path / name / "ipos.toml")
        assert (config.server.name, str(config.server.addresses[0])) == (name, address)
        assert config.server.max_connections == 500
        assert [str(each) for each in config.farm.members] == [f"10.77.0.{n}" for n in (1, 2, 3)]
        assert (tmp_path / name / "farm.key").stat().st_mode & 0o777 == 0o600
        (pool,) = config.pool
        assert pool.servers == {"s2": 1, "s3": 3}
        assert config.service[0].check is not None


@pytest.mark.slow
def test_kubernetes_has_a_schema_for_the_daemon_set(tools: Path) -> None:
    said = _run(tools, "kubernetes-validate", "--strict", DAEMON_SET)
    assert said.count("passed") == 2


def _kubectl(file: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """What `kubectl WORDS --local` makes of a file; it asks no cluster."""
    argv: tuple[str | Path, ...] = ("kubectl", *words, "--local", "-f", file, "-o", "json")
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def _documents(text: str) -> list[Any]:
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:]
    return found


def _not_known(file: Path) -> list[str]:
    """What of the DaemonSet kubectl drops when it reads the file into Kubernetes' own types."""
    # `label` prints documents as they stand, `set image` those with a pod by way of the types.
    plain, typed = _kubectl(file, "label", "none-"), _kubectl(file, "set", "image", "agent=other")
    (ours,) = (each for each in _documents(plain.stdout) if each["kind"] == "DaemonSet")
    (read,) = _documents(typed.stdout)
    return [each for each in lost(ours, read, "daemonset") if not each.endswith("becomes 'other'")]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_reads_all_of_the_daemon_set(tmp_path: Path) -> None:
    assert _not_known(DAEMON_SET) == []
    sound, wrong = DAEMON_SET.read_text(), tmp_path / "wrong.yaml"
    wrong.write_text(sound.replace("hostPID:", "hostPId:"))
    assert _not_known(wrong) == ["daemonset.spec.template.spec.hostPId: the schema has no such key"]
    wrong.write_text(sound.replace("hostPID: true", "hostPID: host"))
    assert "cannot unmarshal" in _kubectl(wrong, "set", "image", "agent=a").stderr


@pytest.mark.slow
def test_grafanas_schema_has_all_of_the_dashboard(tools: Path, tmp_path: Path) -> None:
    """Grafana's own types are read by Grafana's own reader; a key or a value of others is found."""
    check, file = (
        Path(__file__).with_name("dashboard_types.py"),
        PACKAGING / "grafana" / "ipos.json",
    )
    assert _run(tools, tools / "python", check, file).startswith("no fault in ")
    sound = file.read_text()
    for before, after, said in (
        ('"type": "query"', '"type": "question"', "type_val: 'question' is none of"),
        ('"schemaVersion":', '"schemaVersio":', "schemaVersio: the schema has no such key"),
        ('"refresh": 2', '"refresh": "often"', "refresh: 'often' is none of"),
    ):
        assert before in sound
        (tmp_path / "wrong.json").write_text(sound.replace(before, after, 1))
        done = subprocess.run(
            [tools / "python", check, tmp_path / "wrong.json"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, said in done.stdout) == (1, True), done.stdout + done.stderr


@pytest.mark.slow
def test_the_compose_file_fits_its_specification(tools: Path) -> None:
    _run(tools, "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)


@pytest.mark.slow
def test_the_job_can_be_read(tools: Path, tmp_path: Path) -> None:
    read = _job(tools, JOB)
    assert not_known("job", read) == []
    (task,) = (each["agent"] for each in read["ipos-agent"]["group"][0]["agent"]["task"])
    assert task["driver"] == "docker"
    (settings,) = task["config"]
    assert settings["privileged"] is True
    assert settings["network_mode"] == settings["pid_mode"] == settings["cgroupns"] == "host"
    sound, wrong = JOB.read_text(), tmp_path / "wrong.hcl"
    for before, after, where in (
        ("pid_mode", "pid_namespace", "job.group.task.config.pid_namespace"),
        ("kill_timeout", "stop_timeout", "job.group.task.stop_timeout"),
        ("max_parallel", "parallel", "job.update.parallel"),
    ):
        wrong.write_text(sound.replace(f" {before} ", f" {after} "))
        assert not_known("job", _job(tools, wrong)) == [where]


def _job(tools: Path, file: Path) -> dict[str, Any]:
    program = "import hcl2, json, sys; print(json.dumps(hcl2.load(open(sys.argv[1]))))"
    read: dict[str, Any] = json.loads(
        _run(tools, tools / "python", "-c", program, file).replace('\\"', "")
    )
    (job,) = read["job"]
    assert isinstance(job, dict)
    return job
