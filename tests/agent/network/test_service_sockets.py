# SPDX-License-Identifier: Apache-2.0
"""How many connections a service has."""

import socket

import pytest

from ipos.agent.network import service_sockets


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_connections_of_others_count_and_checks_do_not(family: socket.AddressFamily) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as asked:  # sends nothing
        asked.connect(("192.0.2.1", 9))
        own = asked.getsockname()[0]
    dual = family == socket.AF_INET6
    with socket.create_server(("", 0), family=family, dualstack_ipv6=dual) as it:
        port = it.getsockname()[1]
        assert service_sockets.count(port) == 0, "a listener is no connection"
        with socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.1", 0)):
            assert service_sockets.count(port) == 0
        with socket.create_connection((own, port)), socket.create_connection((own, port)):
            assert service_sockets.count(port) == 2
            assert service_sockets.count(port + 1) == 0
