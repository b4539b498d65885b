# SPDX-License-Identifier: Apache-2.0
"""Sessions while the farm's secret changes: what is known under either key goes on under ours."""

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from ipos.abi.layout import constant
from ipos.selection import sessions
from tests.support.golden import packets as p
from tests.support.golden.machine import Config, NativeMachine, configure, words

OURS, OTHER = b"our learn key 12", b"the other's key."
TODAY = p.EPOCH * 16 // sessions.DAY_S
NAME = b"SID"


@pytest.fixture(params=[4, 6])
def machine(request: pytest.FixtureRequest) -> Iterator[NativeMachine]:
    made = NativeMachine(family=int(request.param))
    yield made
    made.close()


def begin(machine: NativeMachine, kind: str, *, keys_change: bool) -> None:
    configure(machine, Config(candidates=(1, 2, 3), keys_change=keys_change, listening=(1, 2, 3)))
    settings = machine.table("settings")
    settings[0] = {**settings[0], "learn_key": words(OURS), "other_learn_key": words(OTHER)}
    machine.table("sessions")[1] = {
        "kind": constant(f"IPOS_SESSION_{kind}"),
        "name_len": len(NAME),
        "name": tuple(NAME.ljust(constant("IPOS_COOKIE_NAME_MAX"), b"\0")),
        "lifetime_s": 1000,
    }
    machine.table("session_keys")[TODAY % constant("IPOS_SESSION_DAYS")] = {
        "key": words(OURS),
        "other": words(OTHER),
        "epoch": TODAY,
        "valid": 3 if keys_change else 1,
    }


def asks(machine: NativeMachine, value: str) -> tuple[int, bool]:
    """(server that has the request's session, whether its response begins one)."""
    head = f"GET / HTTP/1.1\r\nHost: a\r\nCookie: SID={value}\r\n\r\n".encode()
    machine.node.read([head], 1)
    server, _, insert = machine.node.session(machine.moment)
    return server, insert


def learned(value: bytes, key: bytes) -> dict[str, int]:
    (number,) = struct.unpack("=Q", sessions.learned_hash(value, key).to_bytes(8, "little"))
    return {"hash": number, "service_port": p.WEB}


@pytest.mark.parametrize("keys_change", [False, True])
def test_a_learned_session(machine: NativeMachine, keys_change: bool) -> None:
    begin(machine, "LEARN", keys_change=keys_change)
    cookies = machine.table("cookies")
    known = {"server_ip": int(IPv4Address(p.S2)), "expires_ns": machine.moment + 900_000_000_000}
    cookies[learned(b"abc", OTHER)] = known
    assert asks(machine, "abc") == (2 if keys_change else 0, False)
    zero = {"zero": (0, 0, 0)}
    found = {key["hash"] for key, _ in cookies.items()}
    news = machine.node.store("cookie_news").pop()
    if not keys_change:
        assert news is None
        return
    ours = learned(b"abc", OURS)
    assert found == {ours["hash"], learned(b"abc", OTHER)["hash"]}
    assert cookies[{**ours, **zero}]["server_ip"] == known["server_ip"]
    assert news is not None, "the other servers hear of it"
    assert news[:8] == ours["hash"].to_bytes(8, "little")
    assert asks(machine, "abc") == (2, False)
    assert machine.node.store("cookie_news").pop() is None, "once"


@pytest.mark.parametrize("keys_change", [False, True])
def test_an_inserted_session_is_given_a_cookie_under_our_key(
    machine: NativeMachine, keys_change: bool
) -> None:
    begin(machine, "INSERT", keys_change=keys_change)
    value = sessions.Value(TODAY, IPv4Address(p.S3))
    assert asks(machine, sessions.encode(value, OURS, 1)) == (3, False)
    found = asks(machine, sessions.encode(value, OTHER, 2))
    assert found == ((3, True) if keys_change else (0, True))
    assert asks(machine, sessions.encode(value, b"nobody's key is.", 3)) == (0, True)


@pytest.mark.parametrize("keys_change", [False, True])
def test_a_value_in_which_the_server_stands_open_is_exchanged(
    machine: NativeMachine, keys_change: bool
) -> None:
    """One that was given before ABI 11: it goes on, and the client gets a sealed one."""
    begin(machine, "INSERT", keys_change=keys_change)
    value = sessions.Value(TODAY, IPv4Address(p.S3))
    text = sessions.encode_open(value, OURS)
    assert asks(machine, text) == (3, True)
    found = asks(machine, sessions.encode_open(value, OTHER))
    assert found == (3 if keys_change else 0, True)
    for at in range(len(text)):
        forged = text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]
        assert asks(machine, forged) == (0, True)


def test_a_value_with_any_bit_changed_is_nobodys(machine: NativeMachine) -> None:
    begin(machine, "INSERT", keys_change=True)
    raw = bytes.fromhex(sessions.encode(sessions.Value(TODAY, IPv4Address(p.S3)), OURS, 77))
    for bit in range(8 * len(raw)):
        forged = bytearray(raw)
        forged[bit // 8] ^= 1 << bit % 8
        assert asks(machine, forged.hex()) == (0, True), bit
    assert asks(machine, raw.hex()) == (3, False)
