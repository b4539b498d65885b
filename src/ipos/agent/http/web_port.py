# SPDX-License-Identifier: Apache-2.0
"""The agent's TCP port: the page, the metrics and the API, behind a guard."""

import socket
from dataclasses import dataclass
from pathlib import Path

from ipos.config.agent_section import Agent, read_token
from ipos.errors import IposError

_BACKLOG = 64


@dataclass(frozen=True, slots=True)
class WebPort:
    """A listening socket, who may use it, and how it speaks. token: None for none."""

    listener: socket.socket
    token: bytes | None
    certificate: Path | None = None
    key: Path | None = None

    def close(self) -> None:
        self.listener.close()


def open_port(section: Agent, directory: Path) -> WebPort | None:
    """The port of a configuration, None where it has none. IposError when it cannot be opened.

    directory: where relative paths begin.
    """
    if section.place is None:
        return None
    host, port = section.place
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise IposError(
            f"cannot listen on agent.web {section.web}: {error.strerror}; name another port, or "
            "end what has this one"
        ) from None
    token = read_token(section, directory)  # as the check of the configuration did
    certificate = section.web_certificate and directory / section.web_certificate
    key = section.web_key and directory / section.web_key
    return WebPort(listener, token, certificate, key)
