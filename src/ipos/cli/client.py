# SPDX-License-Identifier: Apache-2.0
"""A client of the agent's API: HTTP/1.0 on its Unix socket, one request per connection.

Written by hand: a command that prints a page must not import an HTTP library of several megabytes.
With HTTP/1.0 an answer ends where the connection does, so only the head is parsed.
"""

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any, BinaryIO

from ipos.agent.host.paths import agent_pid, api_socket
from ipos.errors import IposError

_CONNECT_S = 1.0
_MISDIRECTED = 421
"""RFC 9110, 15.5.20: what the agent answers that is not the one meant."""


class Unanswered(IposError):
    """No agent answers; the pinned maps may still tell."""


def ask(method: str, path: str, body: Any = None, *, patience_s: float = 5.0) -> Any:
    """The JSON of an answer, None of an empty one.

    IposError with the agent's own sentence when it refuses, Unanswered when it does not answer.
    """
    with closing(_begin(method, path, body, patience_s)) as answer:
        try:
            raw = answer.read()
        except OSError:
            raise _silence() from None
    try:
        return json.loads(raw) if raw else None
    except (ValueError, RecursionError):
        raise Unanswered(f"what answers at {api_socket()} is no agent") from None


def follow(path: str) -> Iterator[str]:
    """The lines of an answer that goes on, as they come; empty ones too."""
    with closing(_begin("GET", path, None, None)) as answer:
        for line in answer:
            yield line.decode().rstrip("\n")


def _begin(method: str, path: str, body: Any, patience_s: float | None) -> BinaryIO:
    """The answer after its head. patience_s: for the whole head, None for ever."""
    text = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.0\r\nHost: ipos\r\nContent-Length: {len(text)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in _meant()) + "\r\n"
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_CONNECT_S)
        connection.connect(str(api_socket()))
        connection.settimeout(patience_s)
        connection.sendall(head.encode() + text)
        answer = connection.makefile("rb")
        status = answer.readline().split(b" ", 2)
        while answer.readline().strip():
            pass
    except PermissionError:
        raise IposError(f"{api_socket()} is not yours to use: be root or in its group") from None
    except OSError:
        raise _silence() from None
    finally:
        connection.close()  # the file keeps it open
    if len(status) < 2 or not status[1].isdigit():
        answer.close()
        raise _silence()
    if int(status[1]) >= 300:
        with closing(answer):
            sentence = _sentence(answer.read(), int(status[1]))
        # Where another server's agent answers, what is asked can still be read from the maps.
        is_another = int(status[1]) == _MISDIRECTED and method == "GET"
        raise Unanswered(sentence) if is_another else IposError(sentence)
    return answer


def _meant() -> list[tuple[str, str]]:
    """The farm and the server of the agent that the user has named, if any."""
    named = (("Ipos-Farm", "IPOS_FARM"), ("Ipos-Server", "IPOS_SERVER"))
    found = [(header, os.environ.get(variable, "")) for header, variable in named]
    return [(name, re.sub(r"[^!-~]", "?", value)) for name, value in found if value]


def _sentence(raw: bytes, status: int) -> str:
    try:
        return str(json.loads(raw)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"the agent failed ({status}: {raw.decode(errors='replace').strip()}); see its log"


def _silence() -> Unanswered:
    pid = agent_pid()
    if pid is None:
        return Unanswered("no agent is running on this server")
    return Unanswered(f"the agent (process {pid}) does not answer")
