# SPDX-License-Identifier: Apache-2.0
"""Uplinks: what goes together, and the sentence where it does not."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ipos.agent.network.policy_routes import Rule, policy
from ipos.config import ConfigError, parse
from ipos.config.changes import refused
from ipos.config.effective import as_document, as_toml
from ipos.config.uplink import uplink_of

FARM = """\
[farm]
name = "shop"
secret_file = "farm.key"
members = ["10.77.0.1", "10.77.0.2"]
return = "source"

[server]
name = "s1"
front = "eth0"
back = "eth1"
addresses = ["203.0.113.1", "192.0.2.1"]

[[uplink]]
name = "isp1"
prefix = "203.0.113.0/24"
gateway = "203.0.113.254"
interface = "eth0"

[[uplink]]
name = "isp2"
prefix = "192.0.2.0/24"
gateway = "192.0.2.254"
interface = "eth2"
"""
OWNER = (
    FARM.replace('"source"', '"owner"')
    .replace(', "192.0.2.1"', "")
    .replace('interface = "eth2"\n', "")
)


def test_a_good_file(file: Path) -> None:
    config = parse(FARM, file)
    assert [one.name for one in config.uplink] == ["isp1", "isp2"]
    found = uplink_of(config.uplink, IPv4Address("192.0.2.7"))
    assert found is not None
    assert found.name == "isp2"
    assert uplink_of(config.uplink, IPv4Address("198.51.100.1")) is None
    assert parse(as_toml(as_document(config, defaults=True)), file) == config


@pytest.mark.parametrize(
    ("text", "before", "after", "line", "sentence"),
    [
        (FARM, 'interface = "eth2"\n', "", 19, 'the uplink "isp2" has no interface'),
        (OWNER, '"192.0.2.254"\n', '"192.0.2.254"\ninterface = "eth2"\n', 5,
         'farm.return is "owner" and 2 uplinks have an interface'),
        (FARM, "192.0.2.1", "198.51.100.1", 11, "which is in the prefix of no [[uplink]]"),
        (OWNER, '["203.0.113.1"]', '["192.0.2.1"]', 11, "which is in the prefix of no [[uplink]]"),
        (FARM, '"isp2"', '"isp1"', 20, 'a second uplink is called "isp1"'),
        (FARM, "192.0.2.0/24", "203.0.113.128/25", 21, "have prefixes that overlap"),
        (FARM, '"192.0.2.254"', '"192.0.2.1"', 22, "which is a service address of this server"),
        (FARM, 'front = "eth0"', 'front = "eth7"', 9, "no [[uplink]] has that interface"),
        (FARM, 'interface = "eth2"', 'interface = "eth1"', 23, "is on the back interface"),
        (FARM, 'back = "eth1"', 'back = "eth0"', 23, "while front and back are one interface"),
        (FARM, 'back = "eth1"', 'back = "eth1"\nfront_vlan = 7', 11, "server.front_vlan is 7"),
        (FARM, 'return = "source"', 'own_programs = "farm"', 5, 'farm.own_programs is "farm"'),
        (FARM, 'return = "source"', 'announce = "bgp"', 5, 'farm.announce is "bgp"'),
        (FARM[: FARM.index("[[uplink]]")], '"source"', '"owner"', 5, "there is no [[uplink]]"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(
    file: Path, text: str, before: str, after: str, line: int, sentence: str
) -> None:
    assert before in text
    with pytest.raises(ConfigError) as raised:
        parse(text.replace(before, after, 1), file)
    told = [(one.line, one.text) for one in raised.value.mistakes]
    assert any(at == line and sentence in said for at, said in told), told


def test_uplinks_cannot_change_while_it_runs(file: Path) -> None:
    old = parse(FARM, file)
    new = parse(FARM.replace("192.0.2.254", "192.0.2.253"), file)
    assert [one for one in refused(old, new) if "[[uplink]]" in one]
    new = parse(OWNER, file)
    assert refused(parse(OWNER.replace('return = "owner"', 'return = "owner" '), file), new) == []


def test_rules_lead_by_source_or_by_owner(file: Path) -> None:
    config = parse(FARM, file)
    by_source = policy(config.uplink, "source")
    first, second = (one.prefix for one in config.uplink)
    assert by_source.rules == {
        Rule(7700, 7700, first, second),
        Rule(7700, 7701, second, first),
        Rule(7701, 254),
        Rule(7702, 7700, first),
        Rule(7702, 7701, second),
    }
    assert [(way.table, way.interface) for way in by_source.ways] == [
        (7700, "eth0"),
        (7701, "eth2"),
    ]
    by_owner = policy(parse(OWNER, file).uplink, "owner")
    assert by_owner.rules == {
        Rule(7701, 254), Rule(7702, 7700, first), Rule(7702, 7700, second),
    }  # fmt: skip
    assert [way.table for way in by_owner.ways] == [7700]
    assert policy([], "source").rules == frozenset()
