# SPDX-License-Identifier: Apache-2.0
"""A lab with the agent in its servers, as `ipos lab up` makes it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipos.lab import Lab, LabError, Settings, cleaning, faults

pytestmark = pytest.mark.farm

COMMON = """\
[farm]
idle_s = 60
[[service]]
name = "web"
port = 80
policy = "round-robin"
application = "127.0.0.1:8080"
"""


@pytest.fixture
def name() -> Iterator[str]:
    """A name for a lab, which is ended after the test if the test has not done so."""
    unique = f"t{os.getpid()}-f"
    yield unique
    Lab(Settings(name=unique)).down()


def test_a_farm_with_a_users_file_comes_up_answers_and_leaves_nothing(
    name: str, tmp_path: Path
) -> None:
    file = tmp_path / "common.toml"
    file.write_text(COMMON)
    ipos = str(Path(sys.executable).with_name("ipos"))
    command = [ipos, "lab", "up", "--name", name, "--servers", "2", "--config", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    lab = Lab.load(name)
    url = f"http://{lab.front('s1')}/"
    answers = lab.run(
        "client1",
        ["curl", "-sS", "-H", "Connection: close", url, url, url, url],
        text=True,
        capture_output=True,
    )
    assert sorted(answers.stdout.split()) == ["s1", "s1", "s2", "s2"], answers.stderr
    sysctl = ["sysctl", "-n", "net.ipv4.tcp_congestion_control"]
    for node in lab.nodes:
        has = lab.run(node, sysctl, text=True, capture_output=True).stdout.strip()
        assert has in ("cubic", "reno"), f"{node}: not what this machine happens to have"
    # The agent may die and come back; the kernel has what it needs meanwhile.
    faults.kill_agent(lab, "s1")
    alone = lab.run("client1", ["curl", "-sS", url], text=True, capture_output=True)
    assert alone.stdout.strip() in ("s1", "s2"), alone.stderr
    lab.start_agent("s1")
    assert lab.down()
    assert cleaning.remains(name) == []


def test_an_agent_that_refuses_its_file_ends_the_lab_with_its_own_words(name: str) -> None:
    settings = Settings(
        name=name, servers=1, app="builtin", config='[[service]]\nname = "web"\nport = 80\nxyz = 1'
    )
    with pytest.raises(LabError, match=r"agent of s1 ended early[\s\S]*xyz"):
        Lab(settings).up()
    assert cleaning.remains(name) == []
