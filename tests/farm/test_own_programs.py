# SPDX-License-Identifier: Apache-2.0
"""Programs on the servers themselves as clients: what is refused, and what to use instead."""

import subprocess
from collections.abc import Iterator

import pytest

from ipos.lab import agents, cgroups
from tests.support.farm import Farm, wait_until
from tests.support.shared import farm_with

pytestmark = pytest.mark.farm

CONFIG = """\
[[service]]
name = "web"
port = 80

[[service]]
name = "plain"
port = 81

[[route]]
service = "web"
path = "/"
servers = ["s1"]

[[route]]
service = "web"
path = "/api"
servers = ["s3"]
"""
BACK_OF_S3 = "10.77.0.3"


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with farm_with(CONFIG) as made:
        yield made


def who(farm: Farm, server: str, *arguments: str) -> str:
    said = farm.run(server, "curl", "-sSi", "--max-time", "5", *arguments)
    return next(x.split()[1] for x in said.splitlines() if x.lower().startswith("x-served-by:"))


def refused(farm: Farm, server: str) -> int:
    return farm.counters(server)["own_program_refused"]


def is_refused(farm: Farm, server: str, *arguments: str) -> bool:
    with pytest.raises(AssertionError, match=r"curl: \(7\)"):
        who(farm, server, *arguments)
    return True


def run_doctor(farm: Farm, server: str) -> "subprocess.CompletedProcess[str]":
    file = str(farm.lab.place(server).config_file)
    command = ["ipos", "doctor", "--config", file]
    return farm.lab.run(server, command, capture_output=True, text=True)


def links(farm: Farm, server: str) -> set[str]:
    return {path.name for path in (farm.lab.place(server).maps_dir.parent / "links").iterdir()}


def test_nobody_gets_the_application_of_the_wrong_server(farm: Farm) -> None:
    """A connection has one owner before its request is known, so that no path is let through."""
    for server in ("s1", "s2"):
        before = refused(farm, server)
        asked = [
            f"http://{farm.address(address)}{target}"
            for address in ("s1", "s3")
            for target in ("/", "/api")
        ]
        for url in asked:
            assert is_refused(farm, server, url)
        assert is_refused(farm, server, "-g", f"http://[::ffff:{farm.address('s3')}]/api")
        assert is_refused(farm, server, "--interface", "front", f"http://{farm.address(server)}/")
        assert refused(farm, server) == before + len(asked) + 2
    assert who(farm, "client1", f"http://{farm.address('s1')}/api") == "s3"
    assert who(farm, "client1", f"http://{farm.address('s3')}/") == "s1"


def test_what_leads_nowhere_else_is_served_here(farm: Farm) -> None:
    before = refused(farm, "s2")
    assert who(farm, "s2", f"http://{farm.address('s3')}:81/api") == "s2"
    assert who(farm, "s2", "http://127.0.0.1/api") == "s2"
    meant = ("--interface", "127.0.0.1", f"http://{farm.address('s3')}/api")
    assert who(farm, "s2", *meant) == "s2"
    assert refused(farm, "s2") == before


def test_a_refusal_is_said_in_status_and_doctor(farm: Farm) -> None:
    assert is_refused(farm, "s3", f"http://{farm.address('s1')}/api")
    sentence = "a program on s3 itself, or in a container on it, was refused a connection"
    wait_until("status says so", lambda: sentence in farm.run("s3", "ipos", "status"))
    doctor = run_doctor(farm, "s3")
    assert doctor.returncode == 1
    assert f"FIX  farm            {sentence}" in doctor.stdout
    assert sentence not in farm.run("s1", "ipos", "status")


def test_a_dead_agent_leaves_it_and_a_reload_takes_it_off(farm: Farm) -> None:
    place = farm.lab.place("s2")
    url = f"http://{farm.address('s3')}/api"
    cgroups.kill(place.agent_cgroup)
    assert is_refused(farm, "s2", url)
    agents.start([place])
    assert is_refused(farm, "s2", url)
    text = place.config_file.read_text()
    place.config_file.write_text(text.replace("[farm]", '[farm]\nown_programs = "local"'))
    farm.run("s2", "ipos", "reload")
    assert "lookup" not in links(farm, "s2")
    assert who(farm, "s2", url) == "s2"
    place.config_file.write_text(text)
    farm.run("s2", "ipos", "reload")
    assert "lookup" in links(farm, "s2")
    assert is_refused(farm, "s2", url)


def test_a_back_address_is_the_server_that_has_it(farm: Farm) -> None:
    for server in ("s1", "s2", "s3"):
        assert who(farm, server, f"http://{BACK_OF_S3}/api") == "s3"


def test_doctor_config_check_and_the_agent_say_so(farm: Farm) -> None:
    for place in farm.lab.places():
        file = str(place.config_file)
        rules = {"s1": "*/api", "s2": "*/, */api", "s3": "*/"}[place.node]
        note = farm.run(place.node, "ipos", "config", "check", file)
        assert note.startswith("note: ")
        assert f"({rules})" in note
        doctor = run_doctor(farm, place.node).stdout
        assert note.removeprefix("note: ").strip() in doctor
