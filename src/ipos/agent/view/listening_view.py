# SPDX-License-Identifier: Apache-2.0
"""Rows of the table of listening sockets, from what a server says of its own."""

from collections.abc import Collection, Iterator, Mapping

from ipos.agent.heartbeat.message import Listening
from ipos.agent.snapshot.snapshot import Advertised
from ipos.ip_family import address_of
from ipos.tables import Health, ListeningRow


def sockets(
    server: Advertised, services: Mapping[int, Collection[tuple[int, str]]]
) -> Iterator[ListeningRow]:
    """One row per advertised port: the figure's key. Sockets of services come first.

    `services` are the port and the name of each, by its application's port.
    """
    seen: set[int] = set()
    listening = [one for one in server.listening if not one.udp]
    for one in sorted(listening, key=lambda one: one.port not in services):
        for port, name in services.get(one.port, [(one.port, "")]):
            if port in seen:
                continue
            seen.add(port)
            yield ListeningRow(
                server_ip=address_of(server.addresses[0]),
                tcp_port=port,
                process=one.pid or None,
                health=_health(one, name, server),
                application_port=one.port,
                container=one.container or None,
            )


def _health(one: Listening, service: str, server: Advertised) -> Health:
    """Of the socket of a service, or of no service: ""."""
    if one.outside:
        return Health.OUTSIDE
    if one.mptcp and service not in server.by_syn:
        return Health.MPTCP
    if service and service not in server.services:
        return Health.DOWN
    return Health.SYN if one.mptcp else Health.UP
