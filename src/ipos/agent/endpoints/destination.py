# SPDX-License-Identifier: Apache-2.0
"""Where an endpoint goes whose application names no server."""

import secrets
from collections.abc import Iterable

from ipos.abi.rows import ServerState
from ipos.agent.endpoints.tcp_repair import Unmovable
from ipos.agent.heartbeat.member import Age, Member


def anywhere(others: Iterable[Member], now_ns: int) -> Member:
    """One of the other servers that are up and ready; Unmovable when there is none.

    Each call draws anew. So an endpoint whose application that server does not have is refused,
    and goes elsewhere with its next attempt.
    """
    ready = [
        member
        for member in others
        if member.state is not None
        and member.serves
        and member.state.state == ServerState.READY
        and member.age(now_ns) is not Age.DOWN
    ]
    if not ready:
        raise Unmovable("no other server is ready")
    return secrets.choice(ready)
