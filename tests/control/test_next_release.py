# SPDX-License-Identifier: Apache-2.0
"""From one release to the next where the data planes differ: `ipos upgrade` says what to do, and
that is done on a farm under load, one server after the other, and back.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

import ipos
from ipos.abi.layout import constant
from ipos.kernel.pins import directory_name
from ipos.lab import cgroups
from ipos.lab.agents import log_of
from tests.control.busy import load
from tests.support.farm import SERVERS, Farm, wait_until

pytestmark = [pytest.mark.farm, pytest.mark.alone]

ABI = constant("IPOS_ABI")
PATIENCE_S = 60
"""For an order to be carried out, and a data plane loaded, on a machine with much to do."""


@pytest.fixture(scope="module")
def next_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `ipos` of a package that is the same but for its ABI, which is the next."""
    here = tmp_path_factory.mktemp("next")
    ours = Path(__file__).parents[2] / "bpf"
    shutil.copytree(ours, here / "bpf")
    shutil.copytree(Path(ipos.__file__).parent, here / "lib" / "ipos")
    number = here / "bpf" / "abi" / "limits.h"
    raise_number(number, rf"(#define IPOS_ABI ){ABI}")
    raise_number(here / "lib" / "ipos" / "abi" / "header_data.py", rf'("IPOS_ABI": ){ABI}')
    objects = here / "lib" / "ipos" / "objects"
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda made: compile_program(here / "bpf", made), objects.glob("*.bpf.o")))
    command = here / "ipos"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={here / "lib"} exec {sys.executable} -m ipos "$@"\n')
    command.chmod(0o755)
    return command


def raise_number(file: Path, pattern: str) -> None:
    text, count = re.subn(pattern, rf"\g<1>{ABI + 1}", file.read_text())
    assert count == 1, file
    file.write_text(text)


def compile_program(sources: Path, made: Path) -> None:
    name = made.name.removesuffix(".bpf.o")
    (source,) = sources.glob(f"*/{name.removesuffix('6')}.bpf.c")
    family = ["-DIPOS_FAMILY=6"] if name.endswith("6") else []
    flags = ["-O2", "-g", "-fno-strict-aliasing", "-Wno-unused-function", "-target", "bpf"]
    places = [f"-I/usr/include/{os.uname().machine}-linux-gnu", f"-I{sources}"]
    flags += [*family, "-mcpu=v3", *places]
    subprocess.run(["clang", *flags, "-c", str(source), "-o", str(made)], check=True)
    subprocess.run(["llvm-strip", "-g", str(made)], check=True)


def run(farm: Farm, server: str, *argv: str) -> tuple[int, str]:
    done = farm.lab.run(server, argv, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def holder(farm: Farm, by: str, server: str) -> str:
    """Who answers for a server's address, as another one says."""
    rows = json.loads(farm.run(by, "ipos", "address", "list", "-o", "json"))
    (one,) = [row for row in rows if row["server"] == server]
    return str(one["holder"])


def exchange(farm: Farm, server: str, old: str, new: str) -> None:
    """Take a server out and put it back with another release, as docs/operations.md says."""
    by = next(one for one in SERVERS if one != server)
    place = farm.lab.place(server)
    farm.run(server, old, "drain", server, "--wait", timeout_s=PATIENCE_S)
    farm.run(server, old, "server", "set", server, "maint")
    wait_until(
        f"another server holds the address of {server}",
        lambda: holder(farm, by, server) not in ("", server),
        PATIENCE_S,
    )
    cgroups.end(place.agent_cgroup)
    farm.run(server, old, "detach", timeout_s=PATIENCE_S)
    assert not (place.pin_dir / directory_name(farm.lab.name, server)).exists()
    (place.run_dir / "ready").unlink(missing_ok=True)
    place.spawn([new, "agent", "--config", str(place.config_file)], place.agent_cgroup,
                log_of(place))  # fmt: skip
    wait_until(f"{server} is ready", (place.run_dir / "ready").exists, PATIENCE_S)
    farm.run(server, new, "server", "set", server, "ready")
    farm.__dict__.pop("tables", None)
    wait_until(
        f"{server} holds its address again", lambda: holder(farm, by, server) == server, PATIENCE_S
    )
    wait_until("all know all", lambda: farm.ready(), PATIENCE_S)


def abi_of(farm: Farm, server: str) -> int:
    settings = farm.tables[server].settings.get(0)
    return settings.abi if settings is not None else 0


@pytest.fixture
def both(farm: Farm, next_release: Path) -> Iterator[tuple[Farm, str]]:
    """In the end every server runs this release again."""
    yield farm, str(next_release)
    for server in SERVERS:
        if abi_of(farm, server) != ABI:
            exchange(farm, server, str(next_release), "ipos")


def test_upgrade_refuses_another_abi_and_says_what_to_do(both: tuple[Farm, str]) -> None:
    farm, command = both
    before = farm.tables["s2"].settings.get(0)
    status, said = run(farm, "s2", command, "upgrade")
    assert status == 1
    sentence = (
        rf"ipos: the data plane at \S+ has ABI {ABI}, the programs in \S+ have ABI {ABI + 1}: "
        r"drain this server, run `ipos detach`, and start it anew"
    )
    assert re.fullmatch(sentence, said.strip()), said
    assert farm.tables["s2"].settings.get(0) == before
    assert farm.get(server="s2").status == 200


@pytest.mark.slow
def test_one_server_after_the_other_under_load(both: tuple[Farm, str]) -> None:
    """Through the addresses of all servers, also of the one that is exchanged."""
    farm, command = both
    with ExitStack() as loads:
        said = [loads.enter_context(load(farm, 8, server)) for server in SERVERS]
        for server in SERVERS:
            exchange(farm, server, "ipos", command)
        assert [abi_of(farm, server) for server in SERVERS] == [ABI + 1] * 3
    assert [one.errors for one in said] == [[], [], []]
    assert min(one.requests for one in said) > 100
    print([one.requests for one in said], "requests")
