# SPDX-License-Identifier: Apache-2.0
"""Rules into the maps and back: what is written, when requests see it, and what is left behind."""

import pytest

from ipos.abi import rows
from ipos.agent.rows import pools
from ipos.agent.rows.url_reader import installed
from ipos.agent.rows.url_rows import PATTERNS, compile_urls
from ipos.agent.rows.url_writer import UrlWriter, live_bank
from ipos.config.schema import Config, Route, Service
from ipos.kernel.maps import Tables
from ipos.selection.urlmap import Rule
from tests.agent.made_up_farm import Memory, config

RULES = (
    ("*", "/"),
    ("*", "/img/"),
    ("*", "=/img"),
    ("www.example.org", "/"),
    ("*.example.org", "/b\u00fccher/"),
    ("*.a.example.org", "/x"),
    ("WWW.a.example.org", "=/"),
)


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def tables(memory: Memory) -> Tables:
    return memory.tables()


def routed(*rules: tuple[str, str], server: str = "s1") -> Config:
    return config(
        Service(name="web", port=80),
        Service(name="plain", port=81),
        route=[Route(service="web", host=h, path=p, servers=[server]) for h, p in rules],
    )


def write(writer: UrlWriter, made: Config) -> None:
    numbers = pools.number_pools(pools.definitions(made))
    writer.prepare(compile_urls(made, ["web", "plain"], numbers))


def rules_of(tables: Tables) -> list[str]:
    return [str(rule) for rule, _ in installed(tables).get(0, [])]


def test_what_is_written_can_be_read_back(tables: Tables) -> None:
    writer = UrlWriter(tables)
    write(writer, routed(*RULES))
    assert rules_of(tables) == []
    writer.switch()
    assert installed(tables) == {
        0: [(Rule(host.lower(), path, n), 0) for n, (host, path) in enumerate(RULES, 1)],
        1: [],
    }


def test_a_pattern_knows_the_next_wider_one() -> None:
    made = compile_urls(routed(*RULES), ["web", "plain"], list(pools.definitions(routed(*RULES))))
    names = {place: name for (_, name), place in made.hosts.items()}
    wider = {names[place]: names.get(row.wider, b"*") for place, row in made.patterns.items()
             if place in names}  # fmt: skip
    assert wider == {
        b"www.example.org": b".example.org",
        b".example.org": b"*",
        b".a.example.org": b".example.org",
        b"www.a.example.org": b".a.example.org",
    }
    widest = PATTERNS - 1
    assert made.urls[0] == rows.Urls(
        any=widest, pool=0, wildcards=1 << 2 | 1 << 3, hosts=True, used=True
    )
    assert made.urls[1] == rows.Urls(any=0, pool=1, wildcards=0, hosts=False, used=True)
    assert made.patterns[widest].longest == 5
    assert made.patterns[widest].root.number == 1
    assert sorted(made.patterns) == [1, 2, widest - 2, widest - 1, widest]


def test_each_change_goes_into_the_other_bank_and_clears_it(tables: Tables) -> None:
    writer = UrlWriter(tables)
    banks = []
    for number in range(4):
        write(writer, routed(*RULES, ("*", f"/{number}")))
        writer.switch()
        banks.append(live_bank(tables))
        assert rules_of(tables)[-1] == f"*/{number}"
        assert len(rules_of(tables)) == len(RULES) + 1
        assert tables.paths.count() <= 2 * (len(RULES) + 1)
    assert banks == [1, 0, 1, 0]


def test_what_a_dead_agent_left_half_written_goes(tables: Tables) -> None:
    writer = UrlWriter(tables)
    write(writer, routed(("*", "/old")))
    writer.switch()
    write(UrlWriter(tables), routed(*RULES))  # it died before the switch
    after = UrlWriter(tables)
    after.switch()
    assert rules_of(tables) == ["*/old"]
    write(after, routed(("*", "/new")))
    assert rules_of(tables) == ["*/old"]
    after.switch()
    assert rules_of(tables) == ["*/new"]
    assert tables.hosts.count() == 0


def test_a_full_map_leaves_the_rules_in_use(tables: Tables) -> None:
    writer = UrlWriter(tables)
    write(writer, routed(("*", "/old")))
    writer.switch()

    class FullError(Exception):
        pass

    def refuse(key: object, value: object) -> None:
        raise FullError

    put = tables.paths.put
    tables.paths.put = refuse  # type: ignore[method-assign]
    with pytest.raises(FullError):
        write(writer, routed(*RULES))
    tables.paths.put = put  # type: ignore[method-assign]
    writer.switch()
    assert rules_of(tables) == ["*/old"]
