# SPDX-License-Identifier: Apache-2.0
"""Who may use the agent's TCP port: a layer around the API.

    page        everybody: it has nothing of the farm in it
    questions   who sends the token; where there is no token, only this machine
    orders      who sends the token

The token comes as `Authorization: Bearer TOKEN`, never as a cookie. So no other site can have a
browser send it. Where there is no token, a name in `Host` is refused: a site that gives its own
name our address would be the same origin for a browser.
"""

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import ip_address
from typing import Any

from ipos.agent.http.page import PATH

_QUESTIONS = ("GET", "HEAD")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """An ASGI application. token: None where none is configured."""

    def __init__(self, application: Application, token: bytes | None) -> None:
        self._application = application
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self.refusal(scope)
        if refused is None:
            await self._application(scope, receive, send)
            return
        status, sentence = refused
        headers = [(b"content-type", b"application/json")]
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        body = f'{{"error": "{sentence}"}}'.encode()
        await send({"type": "http.response.body", "body": body})

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason of a refusal, None for a request that is allowed."""
        headers = dict(scope["headers"])
        asks = scope["method"] in _QUESTIONS
        if asks and scope["path"] == PATH:
            return None
        if self._token is not None:
            said = headers.get(b"authorization", b"")
            if hmac.compare_digest(said, b"Bearer " + self._token):
                return None
            return 401, "this needs the token of agent.web_token_file, as a bearer"
        if not asks:
            return 403, "orders need a token: name its file in agent.web_token_file"
        if not _is_address(headers.get(b"host", b"")):
            return 403, "without a token, say an address or localhost in the URL"
        return None


def _is_address(host: bytes) -> bool:
    name = host.decode("latin-1")
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    try:
        ip_address(name)
    except ValueError:
        return name == "localhost"
    return True
