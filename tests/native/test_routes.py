# SPDX-License-Identifier: Apache-2.0
"""The URL map of the C core against the oracle, and what a change of rules lets a request see."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipos.agent.rows import pools
from ipos.agent.rows.url_rows import compile_urls
from ipos.agent.rows.url_writer import UrlWriter
from ipos.config import schema
from ipos.config.schema import Config, Route, Service
from ipos.handshake.segment import Flag, parse_packet
from ipos.kernel.maps import Tables
from native.library import Node
from tests.support import routes
from tests.support.golden import machine as golden
from tests.support.golden import packets
from tests.support.golden.machine import NativeMachine, configure
from tests.support.routes import SIZES


@pytest.mark.parametrize("seed", range(4))
def test_the_core_and_the_oracle_choose_the_same_rule(seed: int) -> None:
    done, found = routes.run(seed, 4000)
    assert found == []
    assert done == 4000


def config(*rules: tuple[str, str]) -> Config:
    """A rule for each (path, server)."""
    return Config(
        farm=schema.Farm(name="shop", secret_file=Path("farm.key")),
        server=schema.Server(name="s1", front="f", back="b", addresses=[]),
        service=[Service(name="web", port=80)],
        route=[Route(service="web", path=path, servers=[server]) for path, server in rules],
    )


def test_a_request_sees_all_of_a_change_or_none() -> None:
    old = config(("/", "s1"), ("/a", "s2"), ("/a/b", "s3"))
    new = config(("/", "s4"), ("/a", "s5"), ("/a/b", "s6"))
    with Node(SIZES) as node:
        seen = set()
        at_each_write: list[None] = []

        class Watched:
            """A map between whose writes a request comes."""

            def __init__(self, name: str) -> None:
                self._store = node.store(name)

            def __getattr__(self, name: str) -> object:
                if name in ("update", "delete") and at_each_write:
                    seen.add(tuple(node.route(0, b"", path)[1] for path in (b"/", b"/a", b"/a/b")))
                    seen.add(tuple(node.route(0, b"", path)[0] for path in (b"/", b"/a", b"/a/b")))
                return getattr(self._store, name)

        tables = Tables(Path(), lambda path: Watched(path.name))  # type: ignore[arg-type, return-value]
        writer = UrlWriter(tables)
        numbers = pools.number_pools(pools.definitions(old))
        writer.prepare(compile_urls(old, ["web"], numbers))
        writer.switch()
        before = tuple(node.route(0, b"", path)[0] for path in (b"/", b"/a", b"/a/b"))
        at_each_write.append(None)
        numbers = pools.number_pools(pools.definitions(new), numbers, pools.definitions(old))
        writer.prepare(compile_urls(new, ["web"], numbers))
        writer.switch()
        at_each_write.clear()
        after = tuple(node.route(0, b"", path)[0] for path in (b"/", b"/a", b"/a/b"))
        assert seen == {before, (1, 2, 3)}
        assert not set(before) & set(after)


def test_without_rules_the_services_own_pool_is_taken() -> None:
    with Node(SIZES) as node:
        node.table("services")[3] = {"pool": 7, "used": 1}
        assert node.route(3, b"www.example.org", b"/") == (7, 0)


def test_a_path_that_was_cut_is_no_exact_path() -> None:
    path = "/" + "x" * 239
    with Node(SIZES) as node:
        writer = UrlWriter(Tables(Path(), lambda path: node.store(path.name)))
        made = config((f"={path}", "s1"), ("/x", "s2"))
        writer.prepare(compile_urls(made, ["web"], pools.number_pools(pools.definitions(made))))
        writer.switch()
        assert node.route(0, b"", path.encode())[1] == 1
        assert node.route(0, b"", path.encode() + b"x" * 100)[1] == 2


def test_a_handshake_needs_somebody_who_listens_and_no_default() -> None:
    for row, answer in (({"pool": 2}, Flag.SYN), ({"listening": 2}, Flag.RST)):
        machine = NativeMachine()
        configure(machine, golden.Config())
        services = machine.table("services")
        services[1] = {**services[1], **row}
        (sent,) = machine.node.xdp(packets.syn(), machine.ifindex("front")).sent
        assert answer in parse_packet(sent.frame[14:]).flags
        machine.close()
