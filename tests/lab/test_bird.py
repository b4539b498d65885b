# SPDX-License-Identifier: Apache-2.0
"""What the lab writes for BIRD, read by BIRD itself."""

import re
import subprocess
from pathlib import Path

import pytest

from ipos.agent.holders import route_file
from ipos.lab import Lab, LabError, bird, faults
from ipos.lab.plan import ROUTER, Settings, nodes

HOSTS = nodes(Settings(topology="ecmp"))
SERVERS = [HOSTS["s1"], HOSTS["s2"], HOSTS["s3"]]


def read(file: Path, text: str) -> subprocess.CompletedProcess[str]:
    file.write_text(text)
    return subprocess.run(["bird", "-p", "-c", str(file)], capture_output=True, text=True)


@pytest.mark.parametrize("addresses", [None, [], [0xC6336401]])
def test_a_servers_configuration_is_right_with_and_without_the_agents_file(
    tmp_path: Path, addresses: list[int] | None
) -> None:
    routes = tmp_path / "bird.conf"
    if addresses is not None:
        routes.write_text(route_file.text("s1", addresses))
    text = bird.server_text(HOSTS["s1"], HOSTS[ROUTER], routes)
    done = read(tmp_path / "server", text)
    assert done.returncode == 0, done.stderr


def test_the_agents_file_is_looked_at(tmp_path: Path) -> None:
    routes = tmp_path / "bird.conf"
    routes.write_text("no configuration")
    text = bird.server_text(HOSTS["s1"], HOSTS[ROUTER], routes)
    assert str(routes) in read(tmp_path / "server", text).stderr


def test_the_routers_configuration_is_right(tmp_path: Path) -> None:
    done = read(tmp_path / "router", bird.router_text(HOSTS[ROUTER], SERVERS))
    assert done.returncode == 0, done.stderr


def test_only_a_router_that_chooses_can_hash_anew() -> None:
    with pytest.raises(LabError, match="--topology ecmp"):
        faults.rehash(Lab(Settings()))


def test_what_operations_shows_for_bird_is_right(tmp_path: Path) -> None:
    text = Path(__file__).parents[2].joinpath("docs/operations.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    blocks = [block for kind, block in shown if not kind and "protocol bgp" in block]
    assert len(blocks) == 2
    for block in blocks:
        begin = "" if "router id" in block else "router id 203.0.113.254;\nprotocol device { }\n"
        done = read(tmp_path / "shown", begin + block)
        assert done.returncode == 0, done.stderr
