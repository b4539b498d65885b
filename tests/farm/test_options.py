# SPDX-License-Identifier: Apache-2.0
"""The options a client offers are those its connection has, at whatever server it ends up."""

import itertools
import re
from typing import Any

import pytest

from tests.support.farm import CLIENT, ELSEWHERE, HERE, Farm, read_answer, request, wait_until
from tests.support.usertcp import Options, UserTcp

pytestmark = pytest.mark.farm

_MATRIX = list(itertools.product((536, 1220, 1460), (None, 0, 7, 14), (False, True), (False, True)))
_TIMESTAMPS = 12


def _offer(mss: int | None, wscale: int | None, sack: bool, timestamps: bool) -> Options:
    options: Options = []
    if mss is not None:
        options.append(("MSS", mss))
    if wscale is not None:
        options.append(("WScale", wscale))
    if sack:
        options.append(("SAckOK", b""))
    if timestamps:
        options.append(("Timestamp", (77, 0)))
    return options


def _socket_of(farm: Farm, server: str, port: int) -> str:
    """What `ss -tio` says of the server's socket for the client's port."""
    output = farm.run(server, "ss", "-Htino", "state", "established", f"dport = :{port}")
    assert f"{CLIENT}:{port}" in output, output
    return output


def _check(shown: str, mss: int | None, wscale: int | None, sack: bool, timestamps: bool) -> None:
    words = set(shown.split())
    scales = re.search(r"wscale:(\d+),(\d+)", shown)
    if wscale is None:
        assert scales is None or scales.groups() == ("0", "0"), shown
    else:
        assert scales is not None, shown
        assert scales.groups() == (str(min(wscale, 14)), "7"), shown
    assert ("sack" in words) == sack, shown
    assert ("ts" in words) == timestamps, shown
    effective = re.search(r" mss:(\d+)", shown)
    assert effective, shown
    assert int(effective[1]) == (mss or 536) - (_TIMESTAMPS if timestamps else 0), shown


@pytest.mark.parametrize(("port", "owner"), [(HERE, "s1"), (ELSEWHERE, "s2")])
@pytest.mark.parametrize(("mss", "wscale", "sack", "timestamps"), _MATRIX)
def test_the_owner_has_what_was_negotiated(
    farm: Farm, port: int, owner: str, mss: int, wscale: int | None, sack: bool, timestamps: bool
) -> None:
    offer = _offer(mss, wscale, sack, timestamps)
    with UserTcp(farm, port, options=offer) as client:
        answer = client.connect()
        assert set(answer.options) == {name for name, _ in offer}
        client.send_at(0, request(close=False))
        assert client.read_answer().served_by == owner
        _check(_socket_of(farm, owner, client.port), mss, wscale, sack, timestamps)


_ODD: list[tuple[str, Any]] = [
    ("none at all", []),
    ("only window scale", [("WScale", 3)]),
    ("another order", [("WScale", 9), ("Timestamp", (5, 0)), ("SAckOK", b""), ("MSS", 1400)]),
    ("NOPs between", [("NOP", None), ("NOP", None), ("SAckOK", b""), ("NOP", None), ("MSS", 1300)]),
    ("an unknown one", [("MSS", 1460), (254, b"\x12\x34"), ("WScale", 2)]),
    ("an end of options", [("MSS", 1440), ("EOL", None)]),
    ("a window scale above 14", [("MSS", 1460), ("WScale", 15), ("Timestamp", (9, 0))]),
    ("a tiny MSS", [("MSS", 88), ("Timestamp", (9, 0))]),
    ("a large MSS", [("MSS", 8960), ("SAckOK", b""), ("Timestamp", (9, 0)), ("WScale", 10)]),
]


@pytest.mark.parametrize(("port", "owner"), [(HERE, "s1"), (ELSEWHERE, "s2")])
@pytest.mark.parametrize("offer", [each[1] for each in _ODD], ids=[each[0] for each in _ODD])
def test_odd_options(farm: Farm, port: int, owner: str, offer: Options) -> None:
    has = dict(offer)
    with UserTcp(farm, port, options=offer) as client:
        client.connect()
        client.send_at(0, request(close=False))
        assert client.read_answer().served_by == owner
        shown = _socket_of(farm, owner, client.port)
        words = set(shown.split())
        assert ("sack" in words, "ts" in words) == ("SAckOK" in has, "Timestamp" in has), shown
        if "WScale" in has:
            assert f"wscale:{min(int(str(has['WScale'])), 14)},7" in words, shown


def test_a_syn_with_data_is_answered_without_it(farm: Farm) -> None:
    """The data is sent again once the connection stands (RFC 9293, 3.4)."""
    with UserTcp(farm, ELSEWHERE) as client:
        client.send("S", client.isn, request(), options=client.options)
        answer = client.segment()
        assert answer is not None
        assert (answer.flags, answer.ack) == ("SA", (client.isn + 1) % 2**32)
        client.syn_ack, client.server_isn = answer, answer.seq
        client.send("A", client.isn + 1)
        client.send_at(0, request())
        assert client.read_answer().served_by == "s2"


def test_a_client_of_the_kernel_without_timestamps_and_window_scale(farm: Farm) -> None:
    names = ("tcp_timestamps", "tcp_window_scaling", "tcp_sack")
    for name in names:
        farm.run("client1", "sysctl", "-qw", f"net.ipv4.{name}=0")
    try:
        with farm.connect(ELSEWHERE) as connection:
            for _ in range(3):
                connection.sendall(request("/bytes/1000000", close=False))
                assert len(read_answer(connection).body) == 1_000_000
    finally:
        for name in names:
            farm.run("client1", "sysctl", "-qw", f"net.ipv4.{name}=1")
    wait_until("tables are empty", lambda: not any(farm.rows("s2").values()))
