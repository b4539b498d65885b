# SPDX-License-Identifier: Apache-2.0
"""Programs that may be spawned: their arguments, and the services by which they are reached."""

from pathlib import Path

import pytest

from ipos.config import parse
from ipos.config.effective import as_document
from ipos.config.slots import Slot, is_slot
from ipos.config.spawning import Spawn
from tests.config.mistakes_table import GOOD

WORKER = Spawn(
    name="worker",
    command=["/bin/worker", "--port={port}"],
    ports="20000-20002",
    args=["--size=*", "--fast", "--*=*"],
    args_max=3,
)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], None),
        (["--size=3", "--fast", "--a=b"], None),
        (["--size="], None),
        (["--size=3/../4"], "takes no argument '--size=3/../4'"),
        (["--size=$(reboot)"], "takes no argument"),
        (["--size=3\n"], "takes no argument"),
        (["--faster"], "it takes --size=*, --fast, --*=*"),
        (["xx--fast"], "takes no argument"),
        (["--fast"] * 4, "takes at most 3 arguments, not 4"),
        (["--size=" + "3" * 122], "takes no argument"),
        (["--size=\udc80"], "takes no argument"),
    ],
)
def test_only_arguments_that_fit_are_passed(args: list[str], said: str | None) -> None:
    refused = WORKER.refusal(args)
    assert (refused is None) if said is None else said in (refused or "")


def test_a_pattern_that_could_take_long_does_not() -> None:
    one = Spawn(name="x", command=["/x"], ports="1-2", args=["*a*b"])
    assert one.refusal(["a" * 128]) is not None


def test_each_port_is_a_service_that_no_file_names(file: Path) -> None:
    text = GOOD.replace("[farm.limits]", 'own_programs = "farm"\n[farm.limits]') + (
        '\n[[spawn]]\nname = "worker"\ncommand = ["/bin/worker", "--port={port}"]\n'
        'ports = "20000-20001"\nmemory = "64M"\nidle_stop_s = 9\n'
    )
    config = parse(text, file)
    slots = [one for one in config.service if isinstance(one, Slot)]
    assert [(one.name, one.port) for one in slots] == [
        ("worker:20000", 20000),
        ("worker:20001", 20001),
    ]
    assert all(is_slot(one.name) for one in slots)
    assert not any(is_slot(one.name) for one in config.service if one not in slots)
    start = slots[1].start
    assert start is not None
    assert start.command == ["/bin/worker", "--port=20001"]
    assert (start.memory_bytes, start.idle_stop_s) == (64 << 20, 9)
    assert slots[1].select == "connection"
    shown = as_document(config, defaults=False)
    assert [one["name"] for one in shown["service"]] == ["web", "mail"]
    assert [one["name"] for one in shown["spawn"]] == ["worker"]
