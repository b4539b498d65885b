# SPDX-License-Identifier: Apache-2.0
"""Idle flows are taken out of a real map, and their networks' shares are given back."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipos.abi import rows
from ipos.abi.layout import constant, layout
from ipos.agent.flows.idle_flows import IdleFlows
from ipos.kernel.libbpf import MapType, syscall
from ipos.kernel.libbpf.map_store import Map

pytestmark = pytest.mark.farm

FLOW, SERVICE, TUPLE = layout("ipos_flow"), layout("ipos_service"), layout("ipos_tuple")
NOW_NS = 1_000_000_000_000
SETTINGS = rows.Settings(flags=rows.SettingsFlags.FLOWS, vouch=7)


class Maps:
    """In the place of pinned ones: `Map.open` finds them by name."""

    def __init__(self) -> None:
        slots = constant("IPOS_SHARES_SLOTS")
        self.made = {
            "udp_flows": Map(syscall.map_create(MapType.HASH, 16, FLOW.size, 64, "flows")),
            "udp_returned": Map(syscall.map_create(MapType.ARRAY, 4, 4, slots, "returned")),
            "services": Map(syscall.map_create(MapType.ARRAY, 4, SERVICE.size, 64, "services")),
        }
        self.made["services"].update(
            bytes((2, 0, 0, 0)), SERVICE.pack({"used": 1, "protocol": 17, "flow_idle_s": 60})
        )

    def flow(self, port: int, silent_s: int, service: int = 2) -> bytes:
        key = TUPLE.pack({"client_ip": 0x0A630007, "client_port": port, "protocol": 17})
        row = {"service": service, "last_seen_ns": NOW_NS - silent_s * 1_000_000_000}
        self.made["udp_flows"].update(key, FLOW.pack(row))
        return key

    @property
    def left(self) -> set[bytes]:
        return {key for key, _ in self.made["udp_flows"].items()}

    @property
    def returned(self) -> int:
        slot = constant("IPOS_SHARES_ALL").to_bytes(4, "little")
        return int.from_bytes(self.made["udp_returned"].get(slot) or b"", "little")


@pytest.fixture
def maps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Maps]:
    made = Maps()
    monkeypatch.setattr(Map, "open", lambda path: made.made[path.name])
    yield made
    for each in made.made.values():
        each.close()


def swept(settings: rows.Settings = SETTINGS) -> Counter[str]:
    counted: Counter[str] = Counter()
    flows = IdleFlows(Path("/maps"))
    for _ in flows.steps(settings, NOW_NS, lambda name: counted.update([name])):
        pass
    return counted


def test_idle_flows_go_and_others_stay(maps: Maps) -> None:
    for port in range(1, 4):
        maps.flow(port, 61)
    kept = maps.flow(9, 59)
    assert swept() == {"FLOW_EXPIRED": 3}
    assert maps.left == {kept}
    assert maps.returned == 3


def test_flows_of_a_service_that_is_gone_go(maps: Maps) -> None:
    maps.flow(1, 61, service=5)
    assert swept() == {"FLOW_EXPIRED": 1}
    assert maps.left == set()


def test_a_farm_without_udp_looks_at_nothing(maps: Maps) -> None:
    maps.flow(1, 61)
    assert swept(rows.Settings()) == {}
    assert len(maps.left) == 1
