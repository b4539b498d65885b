# SPDX-License-Identifier: Apache-2.0
"""The native library by itself: nodes, tables, inputs. What it decides is held in tests/golden."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from ipos.abi.layout import constant, header, layout
from ipos.kernel.maps import Tables
from native.binding import NativeError, maps
from native.library import Node
from native.shapes import shape_of
from native.values import Xdp
from tests.support.golden import packets
from tests.support.golden.machine import (
    LISTENER,
    SIZES,
    Config,
    NativeMachine,
    configure,
    connection_key,
)

IPV4 = bytes(12) + b"\x08\x00" + bytes(46)


@pytest.fixture
def node() -> Iterator[Node]:
    with Node(SIZES) as made:
        yield made


_WITHOUT_ROWS = (
    *("hold_free", "cookie_news", "captured", "decisions", "silent", "awaiting"),
    *("scratch", "families_xdp", "flow_work"),
)


@pytest.mark.parametrize("family", [4, 6])
def test_every_map_has_the_size_of_its_struct(family: int) -> None:
    for name, shape in maps(family).items():
        if name.removesuffix("6") in _WITHOUT_ROWS:
            continue
        known = shape_of(name)
        sizes = [part if isinstance(part, int) else part.size for part in (known.key, known.value)]
        assert sizes == [shape.key_size, shape.value_size], name


def test_a_node_without_settings_passes_everything(node: Node) -> None:
    assert node.xdp(IPV4, 1).verdict is not None
    assert Xdp(node.xdp(IPV4, 1).verdict) is Xdp.PASS
    assert node.counters() == {}


def test_nodes_share_nothing() -> None:
    with Node(SIZES) as one, Node(SIZES) as other:
        one.table("forward")[connection_key()] = {"server": 2}
        assert len(one.table("forward")) == 1
        assert len(other.table("forward")) == 0


def test_a_full_hash_refuses_and_a_full_lru_forgets(node: Node) -> None:
    forward = node.table("forward")
    for port in range(SIZES["forward"]):
        forward[connection_key(port)] = {}
    with pytest.raises(NativeError, match="forward is full"):
        forward[connection_key(99)] = {}
    forward[connection_key(0)] = {"server": 3}  # an update needs no room
    with Node({"temporary": 2}) as small:
        rows = small.table("temporary")
        for port in (1, 2):
            rows[connection_key(port)] = {}
        assert connection_key(1) in rows  # used: now 2 is the oldest
        rows[connection_key(3)] = {}
        assert {key["client_port"] for key, _ in rows.items()} == {1, 3}


def test_the_longest_prefix_wins(node: Node) -> None:
    deny = node.table("deny")
    deny[{"prefix_len": 8, "ip": int(IPv4Address("10.0.0.0"))}] = 1
    deny[{"prefix_len": 24, "ip": int(IPv4Address("10.99.0.0"))}] = 2
    asked = {"prefix_len": 32, "ip": int(IPv4Address("10.99.0.7"))}
    assert deny[asked] == 2
    assert deny[{"prefix_len": 32, "ip": int(IPv4Address("10.98.0.7"))}] == 1
    assert {"prefix_len": 32, "ip": int(IPv4Address("11.0.0.1"))} not in deny


def test_the_free_list_holds_every_piece_once(node: Node) -> None:
    free = node.store("hold_free")
    pieces = [free.pop() or b"" for _ in range(free.count())]
    assert sorted(pieces) == [i.to_bytes(4, "little") for i in range(SIZES["hold_pool"])]
    assert free.pop() is None


def test_wrong_sizes_are_sentences(node: Node) -> None:
    with pytest.raises(NativeError, match="16 bytes"):
        node.store("forward").get(b"short")
    with pytest.raises(NativeError, match="64 bytes"):
        node.store("servers").update(bytes(4), b"short")
    with pytest.raises(NativeError, match="between 14 and 3520"):
        node.xdp(bytes(13), 1)


def test_random_numbers_come_from_the_seed() -> None:
    def chosen(seed: int) -> list[int]:
        machine = NativeMachine()
        configure(machine, Config(policy="RANDOM", candidates=(1, 2, 3), select="CONNECTION"))
        machine.node.seed(seed)
        servers = []
        for port in range(1, 40):
            machine.xdp(packets.syn(port=port), "front")
            servers.append(machine.table("temporary")[connection_key(port)]["server"])
        machine.close()
        return servers

    assert chosen(7) == chosen(7) != chosen(8)
    assert set(chosen(7)) == {1, 2, 3}


def test_the_typed_tables_read_a_node() -> None:
    machine = NativeMachine()
    configure(machine, Config())
    tables = Tables(Path(), opener=lambda path: machine.node.store(path.name))
    machine.xdp(packets.client("A"), "front")
    ((key, row),) = tables.temporary.items()
    assert (str(key.client_ip), key.client_port) == (packets.CLIENT, packets.PORT)
    assert row.hs.iss == packets.ISS
    assert tables.counter(65) == 1
    machine.close()


def test_capture_sees_what_comes_and_what_goes() -> None:
    machine = NativeMachine()
    configure(machine, Config())
    settings = machine.table("settings")
    settings[0] = {**settings[0], "flags": constant("IPOS_CAPTURE")}
    came = packets.syn()
    assert not machine.node.xdp(came, machine.ifindex("front")).captured, "nobody reads"
    machine.table("capture_until")[0] = 2**63
    outcome = machine.node.xdp(came, machine.ifindex("front"))
    head = layout("ipos_captured").size
    frames = []
    for record in outcome.captured:
        told = layout("ipos_captured").unpack(record[:head])
        frames.append((told["outbound"], record[head : head + told["captured"]]))
    assert frames == [(0, came), (1, outcome.sent[0].frame)]
    machine.close()


def decided(machine: NativeMachine, frame: bytes) -> list[dict[str, object]]:
    """What a client's frame had the data plane report."""
    outcome = machine.node.xdp(frame, machine.ifindex("front"))
    records = list(outcome.decided)
    if outcome.verdict == Xdp.PASS:
        records += machine.node.ingress(outcome.frame, machine.ifindex("front")).decided
    return [layout("ipos_decision").unpack(record) for record in records]


def watched(config: Config, *, on: bool = True) -> NativeMachine:
    machine = NativeMachine()
    configure(machine, config)
    machine.listen([LISTENER])
    settings = machine.table("settings")
    settings[0] = {**settings[0], "flags": constant("IPOS_WATCH") if on else 0}
    return machine


@pytest.mark.parametrize(
    ("config", "frame", "outcome", "reason", "server"),
    [
        (Config(), packets.client("PA", packets.HEAD), "NEW", "POLICY", 1),
        (Config(candidates=(2,)), packets.client("PA", packets.HEAD), "NEW", "POLICY", 2),
        (Config(candidates=()), packets.syn(), "REFUSED", "NO_SERVER", 0),
        (Config(candidates=()), packets.client("PA", packets.HEAD), "REFUSED", "NO_SERVER", 0),
        (Config(select="CONNECTION", candidates=(3,)), packets.syn(), "NEW", "POLICY", 3),
        (Config(select="CONNECTION", candidates=()), packets.syn(), "REFUSED", "NO_SERVER", 0),
    ],
)
def test_who_watches_is_told_of_decisions(
    config: Config, frame: bytes, outcome: str, reason: str, server: int
) -> None:
    machine = watched(config)
    (told,) = decided(machine, frame)
    request = packets.HEAD in frame
    assert told == {
        "length": layout("ipos_decision").size,
        "rule": 0,
        "outcome": constant(f"IPOS_OUTCOME_{outcome}"),
        "reason": constant(f"IPOS_REASON_{reason}"),
        "service": 1,
        "server": server,
        "first": 1,
        "pool": told["pool"],
        "flags": 0,
        "refusal": 0,
        "when_ns": machine.now_ns(),
        "tuple": {**connection_key(), "zero": bytes(3)},
        "host_len": told["host_len"],
        "path_len": request,
        "method": constant("IPOS_METHOD_GET") if request else 0,
        "version": 11 if request else 0,
        "zero": bytes(4),
        "host": told["host"],
        "path": (b"/" if request else b"").ljust(128, b"\0"),
        **dict.fromkeys(("bytes", "took_ns", "first_us", "status", "answers"), 0),
    }
    assert decided(machine, frame) == [] or outcome == "REFUSED", "a retransmission decides nothing"
    machine.close()


def test_a_refusal_is_decided_again() -> None:
    machine = watched(Config(candidates=(2, 3)))
    (first,) = decided(machine, packets.client("PA", packets.HEAD))
    came = machine.node.xdp(packets.notice(7, reason=2), machine.ifindex("back"))
    outcome = machine.node.ingress(came.frame, machine.ifindex("back"))
    (again,) = (layout("ipos_decision").unpack(record) for record in outcome.decided)
    assert (first["server"], again["server"]) == (2, 3)
    assert again["outcome"] == constant("IPOS_OUTCOME_AGAIN")
    assert again["reason"] == constant("IPOS_REASON_REFUSED")
    machine.close()


def logging(threshold: int, config: Config | None = None) -> NativeMachine:
    machine = watched(config or Config(), on=False)
    services = machine.table("services")
    services[1] = {**services[1], "log": threshold}
    return machine


def test_a_service_with_a_log_has_every_request_in_it() -> None:
    machine = logging(0xFFFF_FFFF)
    head = b"GET /a/../img/%41?q HTTP/1.1\r\nHost: Shop.Example:80\r\n\r\n"
    (told,) = decided(machine, packets.client("PA", head))
    assert told["flags"] == constant("IPOS_DECISION_LOGGED")
    lengths = told["host_len"], told["path_len"]
    assert lengths == (len(b"shop.example"), len(b"/img/A"))
    assert bytes(told["host"]).rstrip(b"\0") == b"shop.example"  # type: ignore[call-overload]
    assert bytes(told["path"]).rstrip(b"\0") == b"/img/A"  # type: ignore[call-overload]
    machine.close()


def test_long_hosts_and_paths_are_cut() -> None:
    machine = logging(0xFFFF_FFFF)
    host, path = b"h" * 65, b"/" + b"p" * 128
    head = b"GET " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
    (told,) = decided(machine, packets.client("PA", head))
    assert (told["host"], told["path"]) == (host[:64], path[:128])
    cut = constant("IPOS_DECISION_HOST_CUT") | constant("IPOS_DECISION_PATH_CUT")
    assert told["flags"] == constant("IPOS_DECISION_LOGGED") | cut
    machine.close()


def test_the_log_takes_its_share() -> None:
    machine = logging(round(2**32 / 4), Config(select="CONNECTION"))
    machine.node.seed(7)
    taken = sum(len(decided(machine, packets.syn(port=port))) for port in range(1, 101))
    assert 10 <= taken <= 40
    machine.close()


@pytest.mark.parametrize(
    ("head", "refusal"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "HOST_MISSING"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", "SPACE_BEFORE_COLON"),
    ],
)
def test_a_refused_head_is_a_decision(head: bytes, refusal: str) -> None:
    machine = watched(Config())
    (told,) = decided(machine, packets.client("PA", head))
    numbers = {one.name: one.number for one in header().ambiguities}
    assert (told["outcome"], told["server"]) == (constant("IPOS_OUTCOME_REFUSED"), 0)
    assert (told["reason"], told["refusal"]) == (constant("IPOS_REASON_HEAD"), numbers[refusal])
    machine.close()


def test_nobody_watches_and_nothing_is_written() -> None:
    machine = watched(Config(), on=False)
    assert decided(machine, packets.client("PA", packets.HEAD)) == []
    machine.close()


def test_a_listener_is_found_by_its_own_address() -> None:
    machine = NativeMachine()
    configure(machine, Config(application="127.0.0.2"))
    machine.listen([LISTENER])
    outcome = machine.xdp(packets.client("PA", packets.HEAD), "front")
    assert machine.ingress(outcome.frame, "front").assigned == ()
    machine.close()
