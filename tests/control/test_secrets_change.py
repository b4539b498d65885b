# SPDX-License-Identifier: Apache-2.0
"""The farm's secret changes while a client asks on: believed, used, the old one forgotten."""

import json
import secrets

import pytest

from ipos.agent.rows.desired import key_words
from ipos.handshake.keys import FarmKeys
from tests.control.busy import load
from tests.support.farm import SERVERS, Farm, wait_until
from tests.support.farm_secret import change, secret_file, steps

pytestmark = pytest.mark.farm


def frame_keys(farm: Farm) -> set[tuple[int, ...]]:
    found = set()
    for tables in farm.tables.values():
        row = tables.settings.get(0)
        assert row is not None
        found.add(row.frame_key)
    return found


def not_believed(farm: Farm) -> int:
    """Frames and datagrams with a wrong tag, at all servers."""
    count = sum(farm.counters(server).get("drop_frame_tag", 0) for server in SERVERS)
    for server in SERVERS:
        said = json.loads(farm.run(server, "ipos", "status", "-o", "json"))
        count += said["datagrams"].get("tag", 0)
    return count


def test_it_changes_under_load_and_no_request_fails(farm: Farm) -> None:
    old = secret_file(farm).read_bytes().strip()
    new = secrets.token_hex(32).encode()
    wrong = not_believed(farm)
    with load(farm) as said:
        for content in steps(old, new):
            before = farm.counters("s1")["migrated"]
            change(farm, content)
            wait_until(
                "requests move under these keys",
                lambda before=before: farm.counters("s1")["migrated"] > before + 100,  # type: ignore[misc]
                20,
            )
    assert said.errors == []
    assert frame_keys(farm) == {key_words(FarmKeys(new, farm.lab.name).frame)}
    assert not_believed(farm) == wrong, "everybody understood everybody all the time"
    wait_until("all are ready", farm.ready, 30)


def test_it_cannot_change_at_once(farm: Farm) -> None:
    file = secret_file(farm)
    before, old = frame_keys(farm), file.read_bytes()
    file.write_bytes(secrets.token_hex(32).encode())
    done = farm.lab.run("s1", ["ipos", "reload"], capture_output=True, text=True)
    file.write_bytes(old)
    assert done.returncode == 1
    assert "let all of them believe the new secret first" in done.stdout + done.stderr
    assert frame_keys(farm) == before
