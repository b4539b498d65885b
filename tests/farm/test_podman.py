# SPDX-License-Identifier: Apache-2.0
"""nginx and a Go server in containers of a real Podman, with its own bridge network and NAT.

Their ports are not published. One server has two containers.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from ipos.lab import Lab, Settings, pattern
from tests.packaging.commands import expect_tools
from tests.support import podman
from tests.support.farm import CLIENT, SERVERS, Farm, read_answer, request, wait_until
from tests.support.podman import NGINX, Podman

pytestmark = [pytest.mark.farm, pytest.mark.slow]
SECOND, GO = 8100, 8200
CONFIG = "".join(
    f'[[service]]\nname = "{name}"\nport = {port}\nslow_start_ms = 0\n'
    for name, port in (("web", 80), ("second", SECOND), ("go", GO))
)
LENGTH = 20_000_000
SOURCE = Path(__file__).parent / "clients" / "go" / "mptcp.go"


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Lab(Settings(name=f"po{os.getpid()}", app="none", config=CONFIG)) as lab:
        yield Farm(lab)


@pytest.fixture(scope="module")
def engines(farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Podman]]:
    """Each server's, with an nginx that serves `web`; s1 has a second one for `second`."""
    expect_tools(*podman.TOOLS)
    with ExitStack() as stack:
        made = {}
        for server in SERVERS:
            folder = tmp_path_factory.mktemp(server)
            made[server] = Podman(farm.lab, server, folder)
            stack.callback(made[server].remove)
            for name, port in (("web", 80), ("second", SECOND))[: 2 if server == "s1" else 1]:
                root = podman.tree(folder / name, NGINX)
                podman.page(root, server, port)
                (root / "srv" / "bulk").write_bytes(b"".join(pattern.chunks(LENGTH)))
                made[server].start(name, root, NGINX)
        wait_until("all serve", lambda: serving(farm, 80) == set(SERVERS), 30)
        wait_until("the second one serves", lambda: serving(farm, SECOND) == {"s1"}, 30)
        yield made


def serving(farm: Farm, port: int, health: str = "up") -> set[str]:
    """Whose application at this port is well, as s1 knows it."""
    rows = json.loads(farm.run("s1", "ipos", "table", "listening", "-o", "json"))
    names = {farm.address(server): server for server in SERVERS}
    return {
        names[row["server_ip"]]
        for row in rows
        if row["tcp_port"] == port and row["health"] == health and row["container"]
    }


def translated(farm: Farm, server: str) -> list[str]:
    """How many packets each rule of the engine has seen on a server, in their order."""
    said = farm.run(server, "nft", "list", "table", "ip", "nat")
    return re.findall(r"counter packets (\d+)", said)


def test_each_container_serves_and_sees_the_client(farm: Farm, engines: dict[str, Podman]) -> None:
    before = {server: translated(farm, server) for server in SERVERS}
    counted = {server: farm.counters(server)["drop_not_adopted"] for server in SERVERS}
    answers = [farm.get(server=SERVERS[nth % 3]) for nth in range(90)]
    assert {answer.served_by for answer in answers} == set(SERVERS)
    assert {answer.headers["x-client"] for answer in answers} == {CLIENT}
    for server in SERVERS:
        assert farm.get(port=SECOND, server=server).served_by == "s1"
        assert any(before[server]), "the engine has rules"
        assert translated(farm, server) == before[server], "and they have seen nothing"
        assert farm.counters(server)["drop_not_adopted"] == counted[server]
        assert "table ip ipos\n" in farm.run(server, "nft", "list", "tables")


def test_downloads_are_whole(farm: Farm, engines: dict[str, Podman]) -> None:
    for nth in range(6):
        with farm.connect(80, SERVERS[nth % 3]) as connection:
            connection.sendall(request("/bulk", close=False))
            answer = read_answer(connection)
        assert hashlib.sha256(answer.body).hexdigest() == pattern.sha256(LENGTH)


def test_a_container_that_is_restarted_serves_again(farm: Farm, engines: dict[str, Podman]) -> None:
    engines["s2"]("kill", "web")
    wait_until("it is gone", lambda: "s2" not in serving(farm, 80))
    assert {farm.get(server="s2").served_by for _ in range(20)} <= {"s1", "s3"}
    engines["s2"]("start", "web")
    wait_until("s2 serves again", lambda: serving(farm, 80) == set(SERVERS), 15)
    wait_until("and gets requests", lambda: farm.get(server="s2").served_by == "s2", 15)


def test_a_container_is_named_by_its_id(farm: Farm, engines: dict[str, Podman]) -> None:
    """Where two have the application."""
    root = podman.tree(engines["s3"].folder / "twin", NGINX)
    podman.page(root, "twin", 80)
    number = engines["s3"].start("twin", root, NGINX)
    wait_until("s3 is no candidate", lambda: "s3" not in serving(farm, 80))
    file = farm.lab.place("s3").config_file
    text = file.read_text()
    file.write_text(text.replace("port = 80\n", f'port = 80\napplication = "container:{number}"\n'))
    try:
        farm.run("s3", "ipos", "reload")
        wait_until("the named one serves", lambda: farm.get(server="s3").served_by == "twin", 15)
    finally:
        engines["s3"]("rm", "--force", "--time=0", "twin")
        file.write_text(text)
        farm.run("s3", "ipos", "reload")
    wait_until("the first one serves again", lambda: serving(farm, 80) == set(SERVERS), 15)


@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not there: apt-get install golang-go")
def test_a_go_server_with_mptcp_turned_off_serves_and_another_gets_syns_and_is_named(
    farm: Farm, engines: dict[str, Podman], tmp_path: Path
) -> None:
    program = podman.go_program(tmp_path, SOURCE)
    off = ("--sysctl=net.mptcp.enabled=0",)
    for server, options in (("s1", off), ("s2", off), ("s3", ())):
        root = podman.tree(engines[server].folder / "go", str(program))
        engines[server].start(
            "go", root, str(program), str(GO), options=(f"--env=IPOS_SERVER={server}", *options)
        )
    wait_until("two are adopted", lambda: serving(farm, GO) == {"s1", "s2"}, 30)
    wait_until("the third one is named", partial(_is_named, farm))
    wait_until("and gets SYNs", lambda: serving(farm, GO, "syn") == {"s3"})
    before = farm.all_counters()
    answers = {farm.get(port=GO, server=SERVERS[nth % 3]).served_by for nth in range(60)}
    assert answers == set(SERVERS)
    grown_by = [after["syn_forwarded"] for after in farm.all_counters().values()]
    assert sum(grown_by) > sum(counters["syn_forwarded"] for counters in before.values())


def _is_named(farm: Farm) -> bool:
    return "MPTCP" in farm.run("s3", "ipos", "status")
