# SPDX-License-Identifier: Apache-2.0
"""Connections that migrate between servers while they live, for applications that cooperate.

    async for endpoint in incoming(listener):       # as accept(), of connections that come along
        serve(endpoint.socket, endpoint.state)

    await give(sock, to="s2", state=b"...")         # it goes on there; NotGiven: it goes on here

    async for wish in wishes(listener):             # somebody wants a connection to leave
        ...

The agent of this server moves the socket, so an application needs no privilege. What it has written
and the client has not acknowledged, and what the client has sent and the application has not read,
go along. The client notices nothing.
"""

from ipos.endpoint.library import Endpoint, NotGiven, Wish, give, incoming, wishes

__all__ = ["Endpoint", "NotGiven", "Wish", "give", "incoming", "wishes"]
