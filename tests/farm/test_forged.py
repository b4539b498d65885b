# SPDX-License-Identifier: Apache-2.0
"""Frames of ours that are not ours: counted and dropped, and no table changes.

Each is right in everything but one thing, and speaks of connections that are alive.
"""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from scapy.layers.inet import IP, TCP

from ipos.abi.rows import Tuple
from ipos.lab.plan import SWITCH
from tests.farm.wire import ETHERTYPE, Tagger, capturing, packet_socket
from tests.support.farm import (
    CLIENT,
    ELSEWHERE,
    HERE,
    Farm,
    grown,
    read_answer,
    request,
    wait_until,
)
from tests.support.scapy_layers import ConnectionInformation, ControlBlockV1, IposHeader, Trailer
from tests.support.usertcp import UserTcp

pytestmark = pytest.mark.farm

_TYPES = range(1, 8)
_FOREIGN = bytes.fromhex("02000000dead")
_UNKNOWN_TYPE = 200
_BESIDE = {"passed", "absorbed", "frames_received", "forwarded", "decapsulated", "probe_answered",
           "drop_arp_elsewhere", "state_heard", "drop_state_unknown"}  # fmt: skip
"""What the live connections' own acknowledgements, agents and neighbours may count meanwhile."""


@dataclass(frozen=True)
class Live:
    """Two connections that are alive: one migrated from s1 to s2, one served by s1 itself."""

    farm: Farm
    away: socket.socket
    here: socket.socket

    def works(self) -> bool:
        """Whether both answer still."""
        for connection in (self.away, self.here):
            connection.sendall(request(close=False))
            read_answer(connection)
        return True


@pytest.fixture
def live(farm: Farm) -> Iterator[Live]:
    with farm.connect(ELSEWHERE) as away, farm.connect(HERE) as here:
        made = Live(farm, away, here)
        assert made.works()
        wait_until("type 3 has come", lambda: list(farm.tables["s1"].forward.items()))
        yield made


def _mac(farm: Farm, server: str, interface: str) -> bytes:
    return bytes.fromhex(farm.lab.nodes[server].interface(interface).mac.replace(":", ""))


def _state(farm: Farm) -> dict[str, object]:
    """Every row of every connection table, without what each packet of a client moves."""
    found: dict[str, object] = {}
    for server, tables in farm.tables.items():
        for name in ("forward", "local", "connect", "holding", "temporary"):
            for key, row in getattr(tables, name).items():
                moving = {"packets", "last_seen_ns", "client_end", "client_ack"}
                values = {
                    field: getattr(row, field)
                    for field in row.__dataclass_fields__
                    if field not in moving
                }
                found[f"{server} {name} {key}"] = values
    return found


@dataclass(frozen=True, slots=True)
class Victim:
    """Of which connection a frame speaks, and to whom."""

    port: int
    service: tuple[str, int]
    endpoint: tuple[str, int]
    iss: int
    irs: int


def _victim(live: Live, connection: socket.socket) -> Victim:
    farm = live.farm
    port = connection.getsockname()[1]
    service = connection.getpeername()
    rows: list[tuple[Tuple, object]] = []
    for server, name in (("s2", "connect"), ("s1", "local")):
        rows += getattr(farm.tables[server], name).items()
    row = next(row for key, row in rows if key.client_port == port)
    handshake = row.hs  # type: ignore[attr-defined]
    owner = "s2" if connection is live.away else "s1"
    return Victim(port, service, (farm.address(owner), service[1]), handshake.iss, handshake.irs)


def _frame(
    kind: int,
    victim: Victim,
    tagger: Tagger,
    macs: bytes = b"",
    *,
    checksum: int | None = None,
    wrong_tag: bool = False,
) -> bytes:
    """A frame from the ipOS header on, tagged. `macs`: receiver's and sender's, as in the frame."""
    header = IposHeader(
        src=CLIENT,
        sport=victim.port,
        dst=victim.endpoint[0],
        dport=victim.endpoint[1],
        type=kind,
        protocol=1,
    )
    if checksum is not None:
        header.chksum = checksum
    head = bytes(header)
    spoil = (lambda tag: bytes([tag[0] ^ 1]) + tag[1:]) if wrong_tag else bytes
    if kind == 1:
        block = ControlBlockV1(
            state=1,
            flags=7,
            iss=victim.iss + 1000,
            irs=victim.irs + 1000,
            rcv_nxt=victim.irs + 1001,
            snd_nxt=victim.iss + 1001,
            peer_mss=1460,
        )
        information = ConnectionInformation(server=victim.service[0], port=victim.service[1])
        covered = head + bytes(information) + bytes(block)[:124]
        return covered + spoil(tagger.wide(covered))
    if kind in (2, 5):
        segment = IP(src=CLIENT, dst=victim.service[0]) / TCP(
            sport=victim.port, dport=victim.service[1], flags="R", seq=victim.irs + 1
        )
        inner = bytes(segment)
        return head + inner + spoil(tagger.packet(head + inner[:40]))
    trailer = Trailer(service=victim.service[0], port=victim.service[1], iss=victim.iss)
    covered = head + bytes(trailer)[:12]
    return covered + spoil(tagger.short(covered + macs))


def _send(farm: Farm, node: str, interface: str, frames: list[bytes]) -> None:
    with packet_socket(farm, node, interface) as out:
        for frame in frames:
            out.send(frame.ljust(60, b"\0"))


def _nothing_changes(
    live: Live, server: str, counters: set[str], count: int, send: Callable[[], None]
) -> None:
    """`send` sends `count` frames to the server; they are dropped under one of the counters."""
    farm = live.farm
    state, before = _state(farm), farm.counters(server)
    send()

    def dropped() -> int:
        after = farm.counters(server)
        return sum(after[name] - before[name] for name in counters)

    wait_until(f"{count} times {counters}", lambda: dropped() >= count)
    assert dropped() == count
    changed = grown(before, farm.counters(server))
    answers = changed.pop("frames_sent", 0) - changed.get("probe_answered", 0)
    assert answers == 0, changed
    assert not set(changed) - counters - _BESIDE, changed
    assert _state(farm) == state
    assert live.works()


def _both(live: Live) -> list[tuple[str, Victim]]:
    """(receiving server, victim): the owner's rows and the first server's are all at stake."""
    away, here = _victim(live, live.away), _victim(live, live.here)
    return [("s2", away), ("s1", away), ("s1", here)]


@pytest.mark.parametrize("interface", ["front", "back"])
def test_from_the_front_side(live: Live, interface: str) -> None:
    """To the MAC address that the front interface has, and to that of the other one."""
    farm, tagger = live.farm, Tagger(live.farm)
    for server, victim in _both(live):
        member = _mac(farm, "s2" if server == "s1" else "s1", "back")
        head = _mac(farm, server, interface) + member + ETHERTYPE
        frames = [head + _frame(kind, victim, tagger) for kind in _TYPES]
        port = f"{server}-front"
        _nothing_changes(
            live,
            server,
            {"drop_frame_on_front", "drop_frame_elsewhere"},
            len(frames),
            lambda frames=frames, port=port: _send(farm, SWITCH, port, frames),  # type: ignore[misc]
        )


def _on_back(
    live: Live,
    counter: str,
    source: bytes | None,
    make: Callable[[int, Victim, bytes], bytes],
    kinds: range = _TYPES,
) -> None:
    """Frames of all types into the back ports of both servers, from a member's MAC or `source`."""
    farm = live.farm
    for server, victim in _both(live):
        member = _mac(farm, "s2" if server == "s1" else "s1", "back")
        head = _mac(farm, server, "back") + (source or member) + ETHERTYPE
        frames = [head + make(kind, victim, head[:12]) for kind in kinds]
        port = f"{server}-back"
        _nothing_changes(
            live,
            server,
            {counter},
            len(frames),
            lambda frames=frames, port=port: _send(farm, SWITCH, port, frames),  # type: ignore[misc]
        )


def test_from_a_foreign_mac(live: Live) -> None:
    tagger = Tagger(live.farm)
    _on_back(
        live, "drop_frame_foreign", _FOREIGN, lambda kind, v, macs: _frame(kind, v, tagger, macs)
    )


def test_with_a_wrong_tag(live: Live) -> None:
    tagger = Tagger(live.farm)
    make = lambda kind, v, macs: _frame(kind, v, tagger, macs, wrong_tag=True)  # noqa: E731
    _on_back(live, "drop_frame_tag", None, make, range(1, 5))
    _on_back(live, "drop_frame_tag", None, make, range(7, 8))


def test_locate_and_moved_with_a_wrong_tag(live: Live) -> None:
    tagger = Tagger(live.farm)
    farm = live.farm
    for server, victim in _both(live):
        state = _state(farm)
        before = farm.counters(server)
        member = _mac(farm, "s2" if server == "s1" else "s1", "back")
        head = _mac(farm, server, "back") + member + ETHERTYPE
        frames = [head + _frame(kind, victim, tagger, head[:12], wrong_tag=True) for kind in (5, 6)]
        _send(farm, SWITCH, f"{server}-back", frames)
        wait_until(
            "two drops",
            lambda before=before, server=server: (
                sum(  # type: ignore[misc]
                    n for name, n in grown(before, farm.counters(server)).items() if "drop" in name
                )
                >= 2
            ),
        )
        assert _state(farm) == state
    assert live.works()


def test_with_a_wrong_checksum(live: Live) -> None:
    tagger = Tagger(live.farm)
    _on_back(
        live,
        "drop_frame_checksum",
        None,
        lambda kind, v, macs: _frame(kind, v, tagger, macs, checksum=0x1234),
    )


def test_of_an_unknown_type(live: Live) -> None:
    tagger = Tagger(live.farm)
    kinds = range(_UNKNOWN_TYPE, _UNKNOWN_TYPE + 1)
    _on_back(
        live, "drop_frame_type", None, lambda kind, v, macs: _frame(kind, v, tagger, macs), kinds
    )


def test_of_another_incarnation(live: Live) -> None:
    """A delayed notice of an earlier connection on the same ports, from the owner itself."""
    farm, tagger = live.farm, Tagger(live.farm)
    victim = _victim(live, live.away)
    stale = Victim(victim.port, victim.service, victim.endpoint, victim.iss ^ 0x5555, victim.irs)
    head = _mac(farm, "s1", "back") + _mac(farm, "s2", "back") + ETHERTYPE
    frames = [head + _frame(kind, stale, tagger, head[:12]) for kind in (3, 4, 7)]
    _nothing_changes(
        live, "s1", {"drop_frame_iss"}, len(frames), lambda: _send(farm, SWITCH, "s1-back", frames)
    )


def test_cut_short(live: Live) -> None:
    farm, tagger = live.farm, Tagger(live.farm)
    victim = _victim(live, live.away)
    whole = _mac(farm, "s2", "back") + _mac(farm, "s1", "back") + ETHERTYPE
    whole += _frame(1, victim, tagger)
    frames = [whole[:length] for length in (60, 100, 159, 175)]
    _nothing_changes(
        live,
        "s2",
        {"drop_frame_short"},
        len(frames),
        lambda: _send(farm, SWITCH, "s2-back", frames),
    )


@pytest.mark.parametrize("kinds", [(0x8100, 0x8100), (0x88A8, 0x8100), (0x8100, 0x88A8), (0x88A8,)])
@pytest.mark.parametrize("interface", ["front", "back"])
def test_behind_tags_that_only_the_kernel_would_read(
    live: Live, interface: str, kinds: tuple[int, ...]
) -> None:
    """A SYN and a notice, in VLAN 0: the kernel's own answer to the SYN would be a SYN-ACK."""
    farm, victim = live.farm, _victim(live, live.away)
    macs = _mac(farm, "s1", interface) + _mac(farm, "s2", "back")
    tags = b"".join(kind.to_bytes(2, "big") + bytes(2) for kind in kinds)
    syn = IP(src=CLIENT, dst=victim.service[0]) / TCP(sport=9, dport=victim.service[1], flags="S")
    frames = [
        macs + tags + b"\x08\x00" + bytes(syn),
        macs + tags + ETHERTYPE + _frame(7, victim, Tagger(farm), macs),
    ]
    with capturing(farm, "s1", "front") as seen:
        _nothing_changes(
            live,
            "s1",
            {"drop_vlan_tags"},
            len(frames),
            lambda: _send(farm, SWITCH, f"s1-{interface}", frames),
        )
    answers = [IP(frame[14:]) for frame in seen.frames if frame[12:14] == b"\x08\x00"]
    assert not [one for one in answers if one.haslayer(TCP) and one[TCP].dport == 9]


def test_played_back_to_another_server(farm: Farm) -> None:
    """What s1 offered to s2, with nothing changed but the MAC address: s3 would run it again."""
    with capturing(farm, "s2", "back") as capture:
        farm.get(port=ELSEWHERE)
        farm.wait_idle()
    to_s2 = _mac(farm, "s2", "back")
    frames = [
        _mac(farm, "s3", "back") + frame[6:]
        for frame in capture.ipos()
        if frame[:6] == to_s2 and frame[26] in (1, 2)
    ]
    assert {frame[26] for frame in frames} == {1, 2}
    before = farm.counters("s3")
    _send(farm, SWITCH, "s3-back", frames)

    def dropped() -> int:
        return grown(before, farm.counters("s3")).get("drop_frame_receiver", 0)

    wait_until("all are dropped", lambda: dropped() == len(frames))
    assert "adopted" not in grown(before, farm.counters("s3"))


def test_a_reset_needs_the_exact_sequence_number(live: Live) -> None:
    """RFC 5961: a blind reset from the client's side ends nothing, migrated or not."""
    farm = live.farm
    for connection in (live.away, live.here):
        victim = _victim(live, connection)
        with farm.inside("client1"):
            out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        with out:
            for offset in (1, 2, 5000, 1 << 20, 1 << 31):
                packet = IP(src=CLIENT, dst=victim.service[0]) / TCP(
                    sport=victim.port,
                    dport=victim.service[1],
                    flags="R",
                    seq=(victim.irs + offset) % 2**32,
                )
                out.sendto(bytes(packet), (victim.service[0], 0))
        assert live.works()
    assert farm.rows("s2")["connect"] == 1
    assert farm.rows("s1")["local"] == 1


def test_a_blind_fin_ends_nothing_where_the_server_has_closed(farm: Farm) -> None:
    """Its kernel has no more of the socket than what waits for the client's own FIN."""
    with UserTcp(farm, HERE) as client:
        client.connect()
        client.send_at(0, request())
        while not client.fin:
            assert client.pump(), "the server has not closed"
        sockets = ("s1", "ss", "-Htna", f"dport = :{client.port}")
        wait_until("the rest of a socket", lambda: "FIN-WAIT-2" in farm.run(*sockets))
        client.send("FA", client.next_seq - 100_000)
        told = client.segment()
        assert told is not None
        assert told.ack == client.next_seq % 2**32, "what the kernel waits for"
        assert farm.rows("s1")["local"] == 1
        client.send("FA", client.next_seq)
        wanted = (client.next_seq + 1) % 2**32
        while (told := client.segment()) and told.ack != wanted:
            assert "R" not in told.flags
        assert told, "the client's own FIN found nobody"
        client.reset = True  # nothing is left to be told
