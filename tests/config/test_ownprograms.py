# SPDX-License-Identifier: Apache-2.0
"""Which requests of a server's own programs do not go where the rules say."""

from pathlib import Path

import pytest

from ipos.config import ConfigError, parse
from ipos.config.ownprograms import SHOWN, is_refused, notes, source

HEAD = """\
[farm]
name = "shop"
secret_file = "farm.key"
members = ["10.77.0.1", "10.77.0.2"]
[server]
name = "s1"
front = "eth0"
back = "eth1"
addresses = ["203.0.113.1"]
[[service]]
name = "web"
port = 80
[[pool]]
name = "mine"
servers = { s1 = 1, s2 = 3 }
[[pool]]
name = "drained"
servers = { s1 = 0, s2 = 3 }
"""
LOCAL = HEAD.replace("[server]", 'own_programs = "local"\n[server]')
FARM = HEAD.replace("[server]", 'own_programs = "farm"\n[server]')
WEB = '[[route]]\nservice = "web"\n'


@pytest.mark.parametrize(
    "target", ["", WEB + 'pool = "mine"\n', WEB + 'path = "/api"\nservers = ["s2", "s1"]\n']
)
def test_nothing_is_said_or_refused_where_this_server_may_answer(target: str, file: Path) -> None:
    config = parse(HEAD + target, file)
    assert notes(config) == []
    assert not is_refused(config, config.service[0])


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        ('path = "/api"\nservers = ["s2"]\n', "*/api"),
        ('pool = "drained"\n', "*/"),
        ('host = "api.example.org"\nservers = ["s2"]\n', "api.example.org/"),
    ],
)
def test_a_rule_that_leads_to_others_is_named(target: str, rule: str, file: Path) -> None:
    config = parse(HEAD + WEB + target, file)
    (note,) = notes(config)
    assert f"({rule})" in note
    assert 'the service "web" are refused' in note
    assert is_refused(config, config.service[0])


def test_they_are_not_refused_where_the_configuration_says_so(file: Path) -> None:
    config = parse(LOCAL + WEB + 'servers = ["s2"]\n', file)
    (note,) = notes(config)
    assert 'the service "web" get the application of s1' in note
    assert not is_refused(config, config.service[0])


def test_of_those_that_are_clients_of_the_farm_nothing_is_said(file: Path) -> None:
    """Others, as containers, are refused all the same."""
    config = parse(FARM + WEB + 'servers = ["s2"]\n', file)
    assert notes(config) == []
    assert is_refused(config, config.service[0])
    assert source(config) == config.server.addresses[0]


def test_a_tagged_front_is_none_for_them(file: Path) -> None:
    tagged = FARM.replace('front = "eth0"', 'front = "eth0"\nfront_vlan = 9')
    with pytest.raises(ConfigError, match=r'own_programs is "farm" and server.front_vlan 9'):
        parse(tagged, file)


@pytest.mark.parametrize(
    ("session", "refused"),
    [
        ('kind = "insert"', True),
        ('kind = "learn", cookie = "ID"', True),
        ('kind = "redirect", name = "{server}.example.org"', True),
        ('kind = "source"', False),
    ],
)
def test_a_session_may_be_with_another_server(session: str, *, refused: bool, file: Path) -> None:
    text = HEAD.replace("port = 80", f"port = 80\nsession = {{ {session} }}")
    config = parse(text, file)
    assert is_refused(config, config.service[0]) is refused
    assert ["a session is with another server" in note for note in notes(config)] == [
        True
    ] * refused


def test_of_many_rules_some_are_named(file: Path) -> None:
    rules = (f'{WEB}path = "/{n}"\nservers = ["s2"]\n' for n in range(SHOWN + 2))
    (note,) = notes(parse(HEAD + "".join(rules), file))
    assert "(*/0, */1, */2 and 2 more)" in note
