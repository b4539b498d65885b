# SPDX-License-Identifier: Apache-2.0
"""Sessions by name: the host of a request names its server. Pure; `select/own_name.h` does the same
in C.

A request for a server's own name goes to that server. For any other name a server is chosen as
always, and the client is redirected to that server's name. No redirect is given that the next
request could not follow: not to a server that has refused this request, and not where a route keeps
the request from the server of its name.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ipos.selection.candidates import has_refused
from ipos.selection.policies import ServerState

SERVES = (ServerState.READY, ServerState.DRAIN)


@dataclass(frozen=True, slots=True)
class Named:
    """`server`: the index of the server whose name it is, None for "choose". `redirect`: the client
    is then sent to the choice. `reason` ends the sentence "the request goes by ..."."""

    server: int | None
    redirect: bool
    reason: str


def named(
    host: str,
    names: Mapping[str, int],
    states: Mapping[int, ServerState],
    pool: Collection[int],
    listening: Collection[int],
    refused: Collection[int] = (),
    *,
    follows: bool = True,
) -> Named:
    """`host` in lower case and without port, `pool` the candidates of its route,
    `listening` those of all its service's requests.

    `follows`: it is HTTP/1 and no upgrade, of which clients follow no redirect.
    """
    sends = follows and not refused
    index = names.get(host)
    if index is None:
        return Named(None, sends, f"the policy: {host or 'an empty host'} is no server's own name")
    state = states.get(index)
    if state not in SERVES:
        gone = "is gone" if state is None else f"is {state.name.lower()}"
        return Named(None, sends, f"the policy: the server called {host} {gone}")
    if index not in listening:
        return Named(None, sends, f"the policy: the server called {host} has no application for it")
    if index not in pool:
        return Named(None, False, f"the policy: its route keeps it from the server called {host}")
    if has_refused(index, refused):
        return Named(None, False, f"the policy: the server called {host} has refused it")
    return Named(index, False, f"its host: {host} is the server's own name")
