# SPDX-License-Identifier: Apache-2.0
"""Figure 12: the rows of the farm's tables as values. Pure.

`TABLES` maps the name that ``ipos table NAME`` takes to the class of its rows. A row's columns are
its fields, the key first, then the figure's, then ours; ``as_json`` is what ``-o json`` prints.

=====================================  =========================================================
Local, Forward-Connect, Temporary      one shape, `EndpointRow`: attached here, attached here but
                                       addressed elsewhere, not attached yet
Forward                                `ForwardRow`: addressed here, attached elsewhere
Server, Listening, Application         `ServerRow`, `ListeningRow`, `ApplicationRow`: what each
                                       server advertises to all
URL, Cookie                            `UrlRow`, `CookieRow`: how a request chooses
Flow                                   `FlowRow`: datagrams of UDP that are addressed here; ours,
                                       because the figure's Forward is of connections
Number                                 `NumberRow`: whom connection IDs of QUIC name; ours, too
=====================================  =========================================================
"""

from collections.abc import Mapping
from types import MappingProxyType

from ipos.tables.connections import EndpointRow, FlowRow, ForwardRow
from ipos.tables.requests import CookieRow, UrlRow
from ipos.tables.row import Json, Row
from ipos.tables.servers import (
    ApplicationRow,
    Health,
    ListeningRow,
    NumberRow,
    ServerRow,
    ServerState,
)

TABLES: Mapping[str, type[Row]] = MappingProxyType(
    {
        "forward": ForwardRow,
        "local": EndpointRow,
        "forward-connect": EndpointRow,
        "temporary": EndpointRow,
        "server": ServerRow,
        "listening": ListeningRow,
        "application": ApplicationRow,
        "url": UrlRow,
        "cookie": CookieRow,
        "flow": FlowRow,
        "number": NumberRow,
    }
)

__all__ = [
    "TABLES",
    "ApplicationRow",
    "CookieRow",
    "EndpointRow",
    "FlowRow",
    "ForwardRow",
    "Health",
    "Json",
    "ListeningRow",
    "NumberRow",
    "Row",
    "ServerRow",
    "ServerState",
    "UrlRow",
]
