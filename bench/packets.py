# SPDX-License-Identifier: Apache-2.0
"""What XDP takes for one packet, by kind of packet, in nanoseconds of one CPU.

Frames are replayed through the loaded data plane by BPF_PROG_TEST_RUN (`packets.bpf.c`), `--flows`
flows one after the other, in a network namespace of their own. The replay itself is taken off: it
is measured with a program that drops. The programs that a packet's time is divided by run in the
same round, so a machine that is slower for a while is slower for both. Of three runs the fastest
counts: what else runs on the machine takes caches away and never gives any. With 64 flows their
rows are in the first caches; with 1,024 as far as other programs leave them there.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

from pyroute2 import IPRoute, netns

from bench.statistics import Estimate, estimate
from ipos.abi import rows
from ipos.abi.layout import constant, layout
from ipos.agent.rows.cookie_keys import tag_key
from ipos.agent.rows.gates import Gates
from ipos.agent.rows.pools import pool_row
from ipos.errors import IposError
from ipos.handshake.options import Timestamps, write_timestamps
from ipos.handshake.segment import Flag, Segment
from ipos.kernel import data_plane
from ipos.kernel.hooks import Attachment, Hook
from ipos.kernel.libbpf import Map, prog_test_run
from ipos.kernel.libbpf.objects import BpfObject
from ipos.kernel.maps import Tables
from ipos.kernel.pins import ensure_bpffs
from ipos.wire import DataPacket, Frame, Header, PacketType, Protocol, ethernet
from native import roles

FRAMES = 1024
FLOWS = 1 << 20
SERVICE, WEB = IPv4Address("203.0.113.1"), 80
OTHER = IPv4Address("203.0.113.2")
CLIENTS = int(IPv4Address("10.128.0.0"))
FRONT, BACK, PEER = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2", b"\2\0\0\0\0\3"
CLIENT_MAC = b"\2\0\0\0\0\4"
KEY = bytes(range(16))
ISS = 0x10000
DROP, PASS, REDIRECT = 1, 2, 4
SIZES = {"forward": 2 * FLOWS, "connect": 8192, "local": 8192, "temporary": 65536}


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of packet. `floor` is the program it is divided by; `target` the goal's ratio."""

    name: str
    frames: tuple[bytes, ...]
    verdict: int
    floor: str
    target: float
    where: str = "front"
    spread: bool = False


def segment(flow: int, **more: object) -> Segment:
    """A client's acknowledgement with timestamps: the most frequent packet there is."""
    given: dict[str, object] = {
        "source": IPv4Address(CLIENTS + flow), "source_port": 40_000, "destination": SERVICE,
        "destination_port": WEB, "seq": 5000, "ack": ISS + 1, "flags": Flag.ACK, "window": 500,
        "options": write_timestamps(Timestamps(1000, 2000)),
    } | more  # fmt: skip
    return Segment(**given)  # type: ignore[arg-type]


def ip_frame(packet: bytes) -> bytes:
    return FRONT + CLIENT_MAC + b"\x08\x00" + packet


def frames(**more: object) -> tuple[bytes, ...]:
    return tuple(ip_frame(segment(flow, **more).packet()) for flow in range(FRAMES))


def encapsulated() -> tuple[bytes, ...]:
    """Clients' packets as another server sends them on to us."""
    made = []
    for flow in range(FRAMES):
        inner = segment(flow, destination=OTHER)
        header = Header(
            source_ip=inner.source, source_port=inner.source_port, destination_ip=SERVICE,
            destination_port=WEB, type=PacketType.PACKET, protocol=Protocol.TCP,
        )  # fmt: skip
        frame = Frame(
            destination_mac=BACK,
            source_mac=PEER,
            packet=DataPacket(header=header, inner=inner.packet()),
        )
        made.append(ethernet.encode(frame, KEY))
    return tuple(made)


def syn_frames() -> tuple[bytes, ...]:
    """From a port that has no connection."""
    options = bytes.fromhex("020405b40402080a000003e8000000000103030a")
    return frames(source_port=50_000, ack=0, flags=Flag.SYN, options=options)


def strangers() -> list[Case]:
    """What anybody can send without a proof of anything, and what becomes of it."""
    plain = {"source_port": 50_000, "options": b""}
    fragment = [bytearray(frame) for frame in frames()]
    for frame in fragment:
        frame[20] |= 0x20  # more follow
    notice = [frame[:-1] + bytes([frame[-1] ^ 1]) for frame in encapsulated()]
    return [
        Case("stranger: ACK", frames(source_port=50_000), DROP, "encapsulate", 0),
        Case("stranger: ACK, no timestamps", frames(**plain), DROP, "encapsulate", 0),
        Case("stranger: data", frames(source_port=50_000, data=b"GET /"), DROP, "encapsulate",
             0),
        Case("stranger: RST", frames(**plain, flags=Flag.RST), DROP, "encapsulate", 0),
        Case("stranger: no flags", frames(**plain, flags=Flag(0)), DROP, "encapsulate", 0),
        Case("stranger: fragment", tuple(map(bytes, fragment)), DROP, "encapsulate", 0),
        Case("stranger: frame, wrong tag", tuple(notice), DROP, "encapsulate", 0, where="back"),
    ]  # fmt: skip


def cases() -> list[Case]:
    syn = syn_frames()
    udp = struct.pack("!BBHHHBBH4s4sHHHH8x", 0x45, 0, 36, 0, 0, 64, 17, 0, bytes([10, 128, 0, 1]),
                      bytes([192, 0, 2, 1]), 5000, 5001, 16, 0)  # fmt: skip
    return [
        Case("forward, warm", frames(), REDIRECT, "encapsulate", 2.2),
        Case("forward, 75 bytes", frames(data=bytes(75)), REDIRECT, "encapsulate", 0),
        Case("forward, 1,024 bytes", frames(data=bytes(1024)), REDIRECT, "encapsulate", 0),
        Case("forward, 1 M flows", frames(), REDIRECT, "cold", 1.6, spread=True),
        Case("decapsulate", encapsulated(), PASS, "encapsulate", 2.2, where="back"),
        Case("SYN to SYN-ACK", syn, REDIRECT, "reflect", 0),
        Case("owned here", frames(destination_port=81), PASS, "encapsulate", 1.4),
        Case("foreign TCP", frames(destination=IPv4Address("192.0.2.1")), PASS, "encapsulate", 0.4),
        Case("foreign TCP port", frames(destination_port=22), PASS, "encapsulate", 0.4),
        Case("foreign UDP", (ip_frame(udp),) * FRAMES, PASS, "encapsulate", 0.2),
        *strangers(),
    ]


class Bench:
    """The loaded data plane and the replay, in a namespace that this thread is in."""

    def __init__(self, place: Path, replay: BpfObject, interfaces: dict[str, int]) -> None:
        self.flows = FRAMES
        self._next = 0
        self._interfaces = interfaces
        self._programs: dict[str, int] = {}
        self._replay = replay
        self._maps = {name: Map(os.dup(one.fd)) for name, one in replay.maps.items()}
        for name in ("drop", "pass", "encapsulate", "cold", "reflect"):
            self.add(name, replay.program_fd(f"floor_{name}"))
        self.add("ipos", data_plane.program_fd(place, "ipos_xdp"))

    def close(self) -> None:
        for opened in self._maps.values():
            opened.close()

    def add(self, name: str, program_fd: int) -> None:
        number = len(self._programs)
        self._programs[name] = number
        self._maps["programs"].update(struct.pack("=I", number), struct.pack("=I", program_fd))

    def load(self, made: tuple[bytes, ...]) -> None:
        size = self._maps["frames"].value_size
        for number, frame in enumerate(made):
            value = struct.pack("=I", len(frame)) + frame
            self._maps["frames"].update(struct.pack("=I", number), value.ljust(size, b"\0"))

    def interface(self, where: str) -> int:
        return self._interfaces[where]

    def program_fd(self, name: str) -> int:
        """Of one of the programs that are compared with."""
        return self._replay.program_fd(f"floor_{name}")

    @property
    def replay_fd(self) -> int:
        return self._replay.program_fd("replay_frame")

    def replay(self, program: str, *, spread: bool, live: bool = False) -> None:
        """What the replay does from now on: with the addresses of a million clients, or its own;
        in buffers that the kernel makes anew for each frame, or in one."""
        number = self._next if spread else 0
        numbers = number, self.flows, spread, live, self._programs[program], 0
        self._maps["replay"].update(bytes(4), struct.pack("=QQIIIIII", 0, 0, *numbers))

    def run(self, case: Case, program: str, repeat: int, verdict: int | None) -> float:
        """Nanoseconds of one run, the replay included. IposError for another verdict."""
        self.replay(program, spread=case.spread)
        self._next = (self._next + repeat) % FLOWS  # the next run has other flows of them all
        first = case.frames[0]
        context = struct.pack("=6I", 0, len(first), 0, self._interfaces[case.where], 0, 0)
        ran = prog_test_run(self._replay.program_fd("replay_frame"), first, context, repeat=repeat)
        if verdict is not None and ran.retval != verdict:
            raise IposError(f"{case.name}: {program} answered {ran.retval}, not {verdict}")
        return ran.duration_ns


def configure(tables: Tables, interfaces: dict[str, int]) -> None:
    """Two servers; what comes for port 80 of the first is the other's, for port 81 our own."""
    words = (int.from_bytes(KEY[:8], "little"), int.from_bytes(KEY[8:], "little"))
    wall_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    flags = rows.SettingsFlags.AUTHENTICATE | rows.SettingsFlags.ANSWERS_UNREAD
    tables.settings.put(0, rows.Settings(
        abi=constant("IPOS_ABI"), flags=flags, front_ifindex=interfaces["front"],
        back_ifindex=interfaces["back"], front_vlan=0, back_vlan=0, ethertype=7, self=1,
        front_mac=FRONT, back_mac=BACK, self_ip=SERVICE, wall_offset_ns=wall_ns, frame_key=words,
        header_timeout_ms=5000, idle_s=3600,
    ))  # fmt: skip
    tables.tag_keys.put(0, rows.TagKeys((tag_key(KEY), tag_key(KEY))))
    for index, (address, mac) in {1: (SERVICE, BACK), 2: (OTHER, PEER)}.items():
        back = IPv4Address(f"10.77.0.{index}")
        tables.servers.put(index, rows.Server(address, back, mac, rows.ServerState.READY))
    tables.members.put(PEER, 2)
    candidates = [rows.Candidate(i, WEB, 1, rows.RAMP_FULL) for i in (1, 2)]
    pool = pool_row(rows.Policy.LEAST_LOADED, candidates, firsts=1)
    tables.pools.put(1, pool)
    for service, port in {1: WEB, 2: WEB + 1}.items():
        tables.services.put(
            service,
            rows.Service(
                6, used=True, pool=1, port=port, application_ip=IPv4Address("127.0.0.1"),
                application_port=8080, listening=1,
            ),
        )  # fmt: skip
        for holder, address in {1: SERVICE, 2: OTHER}.items():
            tables.addresses.put(rows.AddressKey(address, port, 6), rows.Address(service, holder))
    for holder, address in {1: SERVICE, 2: OTHER}.items():  # of fragments, which have no port
        tables.addresses.put(rows.AddressKey(address, 0, 0), rows.Address(0, holder))
    gates = Gates(tables)
    gates.open((key for key, _ in tables.addresses.items()), denies=False)
    gates.close(denies=False)
    epoch = time.time_ns() // 16_000_000_000
    for number in range(epoch - 1, epoch + 200):
        tables.cookie_keys.put(
            number % constant("IPOS_EPOCHS"),
            rows.EpochKey(words, epoch=number, valid=rows.KeyValid.VALID),
        )


def connections(opened: Callable[[str], Map]) -> None:
    """A million connections that are the other server's, and 2,048 of ours."""
    key = layout("ipos_tuple")
    forward = layout("ipos_forward")
    row = forward.pack({
        "destination_ip": int(OTHER), "destination_port": WEB, "server": 2, "acknowledged": 1,
        "iss": ISS, "first": 1, "client_end": 5000, "client_ack": ISS + 1,
    })  # fmt: skip

    def keyed(flow: int, service: IPv4Address, port: int) -> bytes:
        return key.pack({
            "client_ip": CLIENTS + flow, "client_port": 40_000, "service_ip": int(service),
            "service_port": port, "protocol": 6,
        })  # fmt: skip

    def fill(name: str, keys: list[bytes], row: bytes) -> None:
        opened(name).update_all(dict.fromkeys(keys, row))
        roles.add(opened("roles"), name, keys)

    for start in range(0, FLOWS, 65536):
        fill("forward", [keyed(n, SERVICE, WEB) for n in range(start, start + 65536)], row)

    def endpoint(first: int) -> bytes:
        return layout("ipos_endpoint").pack({
            "state": rows.EndpointState.ATTACHED, "service": 2, "first": first, "cookie": 1,
            "rcv_nxt": 5000, "snd_nxt": ISS + 1, "hs": {"iss": ISS, "irs": 4999},
        })  # fmt: skip

    fill("local", [keyed(n, SERVICE, WEB + 1) for n in range(FRAMES)], endpoint(1))
    fill("connect", [keyed(n, OTHER, WEB) for n in range(FRAMES)], endpoint(2))


@contextmanager
def loaded(*, busy: bool = True) -> Iterator[tuple[Bench, Tables]]:
    """The data plane in a namespace of its own, with the connections if `busy`; all gone
    afterwards."""
    name = f"packets{os.getpid()}"
    source = Path(__file__).with_suffix(".bpf.c")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        made = directory / "packets.bpf.o"
        places = [f"-I/usr/include/{os.uname().machine}-linux-gnu", "-c", str(source)]
        flags = ["-O2", "-g", "-target", "bpf", "-mcpu=v3"]
        subprocess.run(["clang", *flags, *places, "-o", str(made)], check=True)
        netns.create(name)
        stack.callback(netns.remove, name)
        netns.pushns(name)
        stack.callback(netns.popns)
        interfaces = _wires()
        place = Path("/sys/fs/bpf") / name
        ensure_bpffs(place)
        stack.callback(_remove, place)
        data_plane.load(data_plane.objects_directory(), place, SIZES)
        data_plane.attach(place, [Attachment(Hook.XDP, index) for index in interfaces.values()])
        tables = Tables(place / "maps")
        configure(tables, interfaces)
        with ExitStack() as maps:
            if busy:
                connections(lambda which: maps.enter_context(Map.open(place / "maps" / which)))
        replay = stack.enter_context(BpfObject(made))
        replay.load()
        bench = Bench(place, replay, interfaces)
        stack.callback(bench.close)
        yield bench, tables


def _remove(place: Path) -> None:
    if data_plane.is_loaded(place):
        data_plane.detach(place)


def _wires() -> dict[str, int]:
    found = {}
    with IPRoute() as link:
        for where in ("front", "back"):
            link.link("add", ifname=where, kind="veth", peer=f"{where}-peer")
            for end in (where, f"{where}-peer"):
                link.link("set", index=link.link_lookup(ifname=end)[0], state="up")
            found[where] = link.link_lookup(ifname=where)[0]
    return found


def measure(bench: Bench, rounds: int, repeat: int) -> dict[str, tuple[Estimate, Estimate]]:
    """Per case: nanoseconds without the replay, and the ratio to its floor, round by round."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    usual = frames()
    for _ in range(rounds):
        for case in cases():
            run = partial(fastest, bench, case, repeat)
            bench.load(usual)
            floor = run(case.floor, REDIRECT) - run("drop", DROP)
            bench.load(case.frames)
            taken = run("ipos", case.verdict) - run("drop", DROP)
            times, ratios = found.setdefault(case.name, ([], []))
            times.append(taken)
            ratios.append(taken / max(floor, 1))
    return {name: (estimate(ns), estimate(ratio)) for name, (ns, ratio) in found.items()}


def fastest(bench: Bench, case: Case, repeat: int, program: str, verdict: int) -> float:
    return min(bench.run(case, program, repeat, verdict) for _ in range(3))


def _table(found: dict[str, tuple[Estimate, Estimate]]) -> str:
    lines = [f"{'packet':30}{'ns':>22}{'ratio':>26}   to"]
    for case in cases():
        ns, ratio = found[case.name]
        lines.append(
            f"{case.name:30}{f'{ns.median:.0f} [{ns.low:.0f}, {ns.high:.0f}]':>22}"
            f"{f'{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]':>26}   {case.floor}"
        )
    return "\n".join(lines)


def main() -> int:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("bench.packets", description=__doc__, formatter_class=shape)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--repeat", type=int, default=20_000, help="packets of each run")
    parser.add_argument("--flows", type=int, default=64, help="a power of two, at most 1,024")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise IposError("programs run in the kernel only for root; run: sudo make bench-packets")
    if options.flows not in (1 << n for n in range(FRAMES.bit_length())):
        parser.error(f"--flows must be a power of two and at most {FRAMES}, not {options.flows}")
    with loaded() as (bench, _):
        bench.flows = options.flows
        found = measure(bench, options.rounds, options.repeat)
    if options.json:
        print(json.dumps({
            name: {"ns": ns.median, "ratio": ratio.median, "low": ratio.low, "high": ratio.high}
            for name, (ns, ratio) in found.items()
        }))  # fmt: skip
    else:
        print(_table(found))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except IposError as error:
        sys.exit(f"bench: {error}")
