# SPDX-License-Identifier: Apache-2.0
"""Makes a first configuration file from a few answers. Pure."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from ipos.config.schema import NAME_PATTERN
from ipos.errors import IposError

SERVICE_FORM = "NAME:PORT, or NAME:PORT=IP:PORT where the application listens elsewhere"


@dataclass(frozen=True, slots=True)
class Service:
    """`application`: where it listens, empty: on the same port of any address."""

    name: str
    port: int
    application: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """What must be known of a farm and of this server. No `members`: they find each other."""

    farm: str
    server: str
    front: str
    back: str
    addresses: tuple[str, ...]
    members: tuple[str, ...]
    services: tuple[Service, ...]
    key: Path

    def as_toml(self) -> str:
        """A file that `ipos config check` takes, with a sentence for who reads it first."""
        found = f"members = {_list(self.members)}" if self.members else "discover = true"
        lines = [
            "# Written by `ipos setup`. Change it as you like: `ipos config check` says what is",
            "# wrong with it, `ipos reload` has the agent take it, docs/configuration.md has all.",
            "",
            "[farm]  # the same on every server",
            f"name = {_text(self.farm)}",
            f"secret_file = {_text(str(self.key))}",
            found,
            "",
            "[server]  # this machine",
            f"name = {_text(self.server)}",
            f"front = {_text(self.front)}  # towards clients",
            f"back = {_text(self.back)}  # the LAN of the farm's own frames",
            f"addresses = {_list(self.addresses)}  # where clients connect to",
        ]
        for service in self.services:
            lines += ["", "[[service]]  # the same on every server"]
            lines += [f"name = {_text(service.name)}", f"port = {service.port}"]
            if service.application:
                lines.append(f"application = {_text(service.application)}")
        return "\n".join(lines) + "\n"


def service(text: str) -> Service:
    """A service from the form `SERVICE_FORM`; IposError for another."""
    found = re.fullmatch(r"([^:=]+):(\d{1,5})(?:=([\d.]+:\d{1,5}))?", text)
    if found is None or not re.fullmatch(NAME_PATTERN, found[1]) or not 0 < int(found[2]) < 65536:
        raise IposError(f"{text!r} is no service: say {SERVICE_FORM}, such as web:80")
    return Service(found[1], int(found[2]), found[3] or "")


def addresses(texts: Iterable[str]) -> tuple[str, ...]:
    """IPv4 addresses, from words or lists by commas; IposError for what is none."""
    found = [word for text in texts for word in text.replace(",", " ").split()]
    for word in found:
        try:
            IPv4Address(word)
        except ValueError:
            raise IposError(f"{word!r} is no IPv4 address, such as 203.0.113.1") from None
    return tuple(found)


def _text(value: str) -> str:
    return json.dumps(value)


def _list(values: Iterable[str]) -> str:
    return json.dumps(list(values))
