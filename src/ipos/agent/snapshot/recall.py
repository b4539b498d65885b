# SPDX-License-Identifier: Apache-2.0
"""What an agent knows of the other servers when it starts: from the maps and the last snapshot.

Their states come within a tenth of a second, unless their agents are dead. A server whose agent is
dead still serves, so its rows stay as they are until its data plane no longer answers.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address

from ipos.abi import rows
from ipos.agent.heartbeat.message import State
from ipos.agent.snapshot.snapshot import Advertised, Snapshot

_NOTHING = Advertised(0, "", "", [], [], [])


def recalled(
    servers: Mapping[int, rows.Server], before: Snapshot
) -> dict[IPv4Address, tuple[int, State, int]]:
    """By back address: index, state and when that was heard.

    `servers` are the rows by index. Names and services are only in the snapshot. Without it, a
    server keeps the connections that it has and gets no others.
    """
    said = {(one.index, one.back_ip): one for one in before.servers}
    found = {}
    for index, row in servers.items():
        known = said.get((index, str(row.back_ip)), _NOTHING)
        addresses = known.addresses or [int(row.address)]
        state = State(
            farm=before.farm,
            server=known.server,
            boot=0,
            sequence=0,
            sent_ms=0,
            state=int(row.state),
            back_ip=int(row.back_ip),
            mac=row.mac,
            addresses=addresses,
            tcp_connections=row.tcp_connections,
            cpu_permille=row.cpu_permille,
            memory_available=row.memory_available,
            bandwidth_available=row.bandwidth_available,
            memory_short=row.memory_short,
            bandwidth_short=row.bandwidth_short,
            services=known.services,
            listening=known.listening,
            applications=known.applications,
            limit=row.limit,
            weight=known.weight,
            by_syn=known.by_syn,
        )
        found[IPv4Address(row.back_ip)] = (index, state, row.updated_ns)
    return found
