# SPDX-License-Identifier: Apache-2.0
"""Whose connections to a listener are refused: the program alone, run in the kernel on no hook.

A test run comes from interface 0, so the settings say what that is.
"""

import ctypes
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

import pytest

from ipos.abi import rows
from ipos.abi.layout import counter
from ipos.kernel import data_plane
from ipos.kernel.libbpf import syscall
from ipos.kernel.maps import Tables
from tests.support.plane import pin_place

pytestmark = pytest.mark.farm

SK_DROP, SK_PASS = 0, 1
CAME, ELSEWHERE = 0, 5
REFUSED, SERVED = 80, 81
SERVICE = IPv4Address("203.0.113.1")
CLIENT = "198.51.100.7"
BRIDGE = rows.Settings(front_ifindex=ELSEWHERE, back_ifindex=ELSEWHERE)
_CONTEXT = struct.Struct("=QII4s16x4x4s16xII4x")
"""`struct bpf_sk_lookup`."""
_TEST_RUN = struct.Struct("=I36xIIQQ16x")
"""Of `union bpf_attr` as much as a test run of this kind may say: program and context."""


@dataclass(frozen=True)
class Loaded:
    tables: Tables
    program: int

    def verdict(
        self,
        settings: rows.Settings,
        client: str,
        port: int = REFUSED,
        protocol: int = socket.IPPROTO_TCP,
    ) -> int:
        """What becomes of a connection to this port of our service address."""
        self.tables.settings.put(0, settings)
        remote, local = IPv4Address(client).packed, SERVICE.packed
        given = _CONTEXT.pack(0, socket.AF_INET, protocol, remote, local, port, CAME)
        context = ctypes.create_string_buffer(given, len(given))
        where = ctypes.addressof(context)
        attributes = bytearray(_TEST_RUN.pack(self.program, len(given), len(given), where, where))
        syscall.bpf(syscall.Command.PROG_TEST_RUN, attributes)
        return int(struct.unpack_from("=I", attributes, 4)[0])


@pytest.fixture(scope="module")
def loaded() -> Iterator[Loaded]:
    with pin_place() as place:
        data_plane.load(data_plane.objects_directory(), place)
        tables = Tables(place / "maps")
        for index, port in enumerate((REFUSED, SERVED)):
            tables.services.put(index, rows.Service(used=True, own_refused=port == REFUSED))
            key = rows.AddressKey(SERVICE, port, socket.IPPROTO_TCP)
            tables.addresses.put(key, rows.Address(index, 1))
        yield Loaded(tables, data_plane.program_fd(place, "ipos_lookup"))


@pytest.mark.parametrize(
    ("settings", "client"),
    [
        (BRIDGE, "172.17.0.2"),  # a container's
        (rows.Settings(front_ifindex=CAME), "203.0.113.1"),  # ours, bound to front
        (rows.Settings(front_ifindex=CAME, front_vlan=9), "203.0.113.1"),
        (replace(BRIDGE, own_ifindex=7, own_front_ifindex=8), "172.17.0.2"),
    ],
)
def test_an_own_program_is_refused_and_counted(
    loaded: Loaded, settings: rows.Settings, client: str
) -> None:
    number = counter("OWN_PROGRAM_REFUSED")
    before = loaded.tables.counter(number)
    assert loaded.verdict(settings, client) == SK_DROP
    assert loaded.tables.counter(number) == before + 1
    assert loaded.verdict(settings, client, port=SERVED) == SK_PASS
    assert loaded.verdict(settings, client, port=22) == SK_PASS
    assert loaded.verdict(settings, client, protocol=socket.IPPROTO_UDP) == SK_PASS
    assert loaded.tables.counter(number) == before + 1


@pytest.mark.parametrize(
    ("settings", "client"),
    [
        (rows.Settings(front_ifindex=CAME, back_ifindex=ELSEWHERE), CLIENT),
        (rows.Settings(front_ifindex=ELSEWHERE, back_ifindex=CAME), CLIENT),
        (rows.Settings(front_ifindex=ELSEWHERE, front_vlan=9), CLIENT),  # eth0.9 and not eth0
        (rows.Settings(back_ifindex=ELSEWHERE, back_vlan=9), CLIENT),
        # Own programs that are clients of the farm, here and at another server.
        (replace(BRIDGE, own_ifindex=7, own_front_ifindex=CAME), "203.0.113.1"),
        (replace(BRIDGE, own_ifindex=7, own_front_ifindex=8, front_ifindex=CAME), "203.0.113.1"),
        (BRIDGE, "127.0.0.1"),  # who means this server, as a health check does
    ],
)
def test_a_client_is_not(loaded: Loaded, settings: rows.Settings, client: str) -> None:
    assert loaded.verdict(settings, client) == SK_PASS
