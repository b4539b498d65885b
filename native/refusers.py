# SPDX-License-Identifier: Apache-2.0
"""The servers that refused a request, as the data plane has them."""

from collections.abc import Collection

from ipos.abi.layout import constant, layout
from native.shapes import pack


def refusers(servers: Collection[int]) -> bytes:
    """`struct ipos_refusers` of these servers' indices; no more of them than it has room for."""
    few = list(servers)[: constant("IPOS_REFUSERS_MAX")]
    return pack(layout("ipos_refusers"), {"count": len(few), "servers": few})
