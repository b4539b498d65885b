# SPDX-License-Identifier: Apache-2.0
"""Servers that know the secret and nobody's address find each other on the back LAN."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipos.lab import Lab, Settings, cgroups, faults
from tests.control.conftest import CONFIG, serving
from tests.support.farm import SERVERS, Farm, wait_until

pytestmark = pytest.mark.farm
MEMBERS = 'members = ["10.77.0.1", "10.77.0.2", "10.77.0.3"]'


@pytest.fixture(scope="module")
def strangers() -> Iterator[Farm]:
    """Three servers whose files name no members, and no agent yet."""
    with Lab(Settings(name=f"disc{os.getpid()}", config=CONFIG)) as lab:
        for server in SERVERS:
            place = lab.place(server)
            cgroups.end(place.agent_cgroup)
            lab.run(server, ["ipos", "detach"], check=True, capture_output=True)
            told = place.config_file.read_text()
            assert MEMBERS in told
            place.config_file.write_text(told.replace(MEMBERS, "discover = true"))
        yield Farm(lab)


def test_they_find_each_other_and_serve(strangers: Farm) -> None:
    for server in SERVERS:
        strangers.lab.start_agent(server)
    wait_until("every server knows three", strangers.ready, 20)
    wait_until("every server serves", lambda: serving(strangers) == 3, 20)
    served: set[str] = set()

    def all_have_served() -> bool:
        served.update(strangers.get(server=by).served_by for by in SERVERS)
        return served == set(SERVERS)

    wait_until("each has served, once its start does not keep it busy", all_have_served, 30)


def test_one_with_another_secret_is_not_found(strangers: Farm) -> None:
    place = strangers.lab.place("s3")
    cgroups.end(place.agent_cgroup)
    strangers.run("s3", "ipos", "detach")
    file, told = place.config_file, place.config_file.read_text()
    own = Path(place.run_dir / "other.key")
    own.write_text("another secret of at least sixteen bytes\n")
    own.chmod(0o600)
    line = next(line for line in told.splitlines() if line.startswith("secret_file"))
    file.write_text(told.replace(line, f'secret_file = "{own}"'))
    wait_until("the others are two", lambda: known(strangers, "s1") == 2, 20)
    strangers.lab.start_agent("s3")
    strangers.__dict__.pop("tables", None)  # those of the data plane that has gone
    wait_until("s3 serves alone", lambda: known(strangers, "s3") == 1, 20)
    assert known(strangers, "s1") == 2
    assert "s3" not in {strangers.get(server="s1").served_by for _ in range(20)}
    # Detached, its own kernel answered for its address, so the others may have given it up again.
    wait_until("one server answers for s3's address", lambda: len(answering(strangers)) == 1, 20)
    assert {strangers.get(server="s3").status for _ in range(5)} == {200}
    faults.kill_agent(strangers.lab, "s3")


def answering(farm: Farm) -> list[str]:
    """The servers that answer on front for the address of s3."""
    return [by for by in SERVERS if farm.holds(by, farm.address("s3"))]


def known(farm: Farm, server: str) -> int:
    """Servers that one takes for ready."""
    rows = dict(farm.tables[server].servers.items())
    return sum(row.state.name == "READY" for row in rows.values())
