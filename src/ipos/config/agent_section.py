# SPDX-License-Identifier: Apache-2.0
"""`[agent]`: what the agent offers to people and to monitoring."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from ipos.files import FileError, read_bounded

TOKEN_MIN, TOKEN_MAX = 16, 256
_NEEDS_TOKEN = (
    "agent.web can be reached by others, so it needs a token: make one with `head -c 24 "
    "/dev/urandom | base64 > /etc/ipos/web.token`, and name it in web_token_file"
)


class Agent(Struct, frozen=True, forbid_unknown_fields=True):
    """`[agent]`: the page, the metrics and the API by HTTP on a TCP port of this server.

    Without `web` there is none. Who sends the token of `web_token_file` may also give orders.
    Without a token only this machine can ask, and nobody can give orders there. `web_certificate`
    and `web_key` are PEM files: then it is HTTPS.

    `uplink_command` is run when an uplink goes out of service and when it comes back, by one server
    of the farm. The environment says what is out: `IPOS_UPLINKS_OUT` and `IPOS_ADDRESSES_OUT`, and
    in `IPOS_ADDRESSES` all other service addresses.

    `announce_file` and `announce_command` are how routers learn of service addresses where
    `farm.announce` is "bgp": the file is written, then the command is run.
    """

    web: (
        Annotated[
            str,
            Meta(
                pattern=r"^(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-fA-F:.]+\]):\d{1,5}$",
                description='an address and a port, such as "127.0.0.1:9100"',
            ),
        ]
        | None
    ) = None
    web_token_file: (
        Annotated[Path, Meta(description='the path of a file, such as "/etc/ipos/web.token"')]
        | None
    ) = None
    web_certificate: (
        Annotated[Path, Meta(description='the path of a file, such as "/etc/ipos/web.crt"')] | None
    ) = None
    web_key: (
        Annotated[Path, Meta(description='the path of a file, such as "/etc/ipos/web.pem"')] | None
    ) = None
    announce_file: (
        Annotated[Path, Meta(description='the path of a file, such as "/run/ipos/bird.conf"')]
        | None
    ) = None
    announce_command: (
        Annotated[
            list[Annotated[str, Meta(min_length=1)]],
            Meta(
                min_length=1,
                max_length=32,
                description='a command and its arguments, such as ["birdc", "configure"]',
            ),
        ]
        | None
    ) = None
    uplink_command: (
        Annotated[
            list[Annotated[str, Meta(min_length=1)]],
            Meta(
                min_length=1,
                max_length=32,
                description='a command and its arguments, such as ["/etc/ipos/dns-out"]',
            ),
        ]
        | None
    ) = None

    @property
    def announcer(self) -> list[str]:
        """The command that makes routers be told what is in the file."""
        return self.announce_command or ["birdc", "configure"]

    @property
    def place(self) -> tuple[str, int] | None:
        """Address and port of `web`."""
        if self.web is None:
            return None
        host, _, port = self.web.rpartition(":")
        return host.strip("[]"), int(port)


def mistakes(section: Agent, directory: Path) -> list[tuple[str, str]]:
    """What is wrong with a section, by key. directory: where relative paths begin."""
    found: list[tuple[str, str]] = []
    if section.announce_file is not None and not section.announce_file.is_absolute():
        text = f'agent.announce_file is "{section.announce_file}"; it must begin with "/"'
        found.append(("announce_file", f"{text}, because BIRD reads it, too"))
    if section.place is None:
        found += [
            (key, f"agent.{key} is for the port of agent.web, and there is none: add web")
            for key in ("web_token_file", "web_certificate", "web_key")
            if getattr(section, key) is not None
        ]
        return found
    host, port = section.place
    try:
        is_local = ip_address(host).is_loopback
    except ValueError:
        return [("web", f"agent.web has no IP address: {host!r}")]
    if not 0 < port < 65536:
        found.append(("web", f"agent.web has no port from 1 to 65535: {port}"))
    if not is_local and section.web_token_file is None:
        found.append(("web", _NEEDS_TOKEN))
    if (section.web_certificate is None) != (section.web_key is None):
        found.append(("web_certificate", "agent.web_certificate and agent.web_key go together"))
    if section.web_token_file is not None:
        found += [("web_token_file", text) for text in _token_mistakes(section, directory)]
    return found


def unannounced(section: Agent, announce: str) -> list[tuple[str, str]]:
    """What is said about announcing where nobody is told by BGP, by key."""
    here = f'is for farm.announce = "bgp", and that is "{announce}"; leave it out, or say "bgp"'
    return [
        (key, f"agent.{key} {here}")
        for key in ("announce_file", "announce_command")
        if getattr(section, key) is not None
    ]


def _token_mistakes(section: Agent, directory: Path) -> list[str]:
    try:
        read_token(section, directory)
    except FileError as error:
        return [f"agent.web_token_file {error}"]
    except OSError as error:
        return [f"agent.web_token_file {section.web_token_file} cannot be read: {error.strerror}"]
    except ValueError as error:
        return [str(error)]
    return []


def read_token(section: Agent, directory: Path) -> bytes | None:
    """The token, None where none is configured. FileError, or ValueError for one that is none."""
    if section.web_token_file is None:
        return None
    path = directory / section.web_token_file
    token = read_bounded(path, TOKEN_MAX + 2).strip()
    if not TOKEN_MIN <= len(token) <= TOKEN_MAX or not all(33 <= byte < 127 for byte in token):
        raise ValueError(
            f"agent.web_token_file {path} must hold {TOKEN_MIN} to {TOKEN_MAX} printable ASCII "
            "characters"
        )
    if path.stat().st_mode & 0o077:
        raise ValueError(
            f"agent.web_token_file {path} is open to others than its owner; `chmod 600 {path}`"
        )
    return token
