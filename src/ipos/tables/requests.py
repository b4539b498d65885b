# SPDX-License-Identifier: Apache-2.0
"""Figure 12: the maps from what a request says to the servers for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ipos.tables.row import Address, Row, Seconds, Weight


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlRow(Row):
    """URL map: one server of the several that may serve a URL."""

    KEY: ClassVar[tuple[str, ...]] = ("url", "server_ip")

    url: str  # host and path prefix, such as *.example.org/img/; www.example.org=/img is exact
    server_ip: Address
    service: str
    weight: Weight


@dataclass(frozen=True, slots=True, kw_only=True)
class CookieRow(Row):
    """Cookie map: the one server that knows a session."""

    KEY: ClassVar[tuple[str, ...]] = ("cookie_id",)

    cookie_id: str
    server_ip: Address
    expiry: Seconds  # Unix time
