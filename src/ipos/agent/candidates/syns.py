# SPDX-License-Identifier: Apache-2.0
"""Services whose connections are given to a server by their SYNs. Pure.

Those are the services with `select = "connection"`, and for a time others: an application that
listens with MPTCP can be given no endpoint, but its kernel can shake hands. Each server says in its
state for which services that is so, and as long as one does, all select on connection for those.
"""

from ipos.abi import rows
from ipos.agent.heartbeat.member import Age, Member
from ipos.agent.heartbeat.membership import Members
from ipos.config.modes import takes_syns
from ipos.config.schema import Config, Service


def may_serve(config: Config, service: Service, member: Member) -> bool:
    """Whether a server is a candidate, whatever its load is."""
    state = member.state
    if state is None or service.name not in state.services:
        return False
    return service.name not in state.by_syn or takes_syns(config, service)


def select(config: Config, service: Service, members: Members, now_ns: int) -> rows.Select:
    """When a server is chosen. A server that drains counts, because its handshakes go on."""
    if service.select == "connection" or any(
        service.name in member.state.by_syn
        for member in members.by_ip.values()
        if member.state is not None
        and may_serve(config, service, member)
        and member.serves
        and member.age(now_ns) is not Age.DOWN
    ):
        return rows.Select.CONNECTION
    return rows.Select.REQUEST
