# SPDX-License-Identifier: Apache-2.0
"""Two uplinks, in the settings."""

from collections.abc import Callable
from typing import Any

from tests.support.golden import packets

ELSEWHERE_MAC = "02:00:00:00:00:0e"
_NETWORKS = ((203, 0, 113, 0), (192, 0, 2, 0))
_MACS = {"front": packets.FRONT, "elsewhere": ELSEWHERE_MAC}


def settings(interfaces: tuple[str, ...], ifindex: Callable[[str], int]) -> dict[str, Any]:
    """interfaces: that of the service's addresses, and the other one; none without uplinks."""
    rows = tuple(
        {
            "prefix": int.from_bytes(network, "big"),
            "mask": 0xFFFFFF00,
            "ifindex": ifindex(where),
            "mac": bytes.fromhex(_MACS[where].replace(":", "")),
        }
        for network, where in zip(_NETWORKS, interfaces, strict=False)
    )
    return {"uplinks": len(rows), "uplink": rows} if rows else {}
