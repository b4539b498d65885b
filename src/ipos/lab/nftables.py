# SPDX-License-Identifier: Apache-2.0
"""The firewall of a server in a lab: stateful, with default drop, as on real servers.

To conntrack an adopted connection begins in the middle, with a data segment. That is `new`, and not
`invalid`, as long as `nf_conntrack_tcp_loose` is 1, its default. A rule that drops "new and not
SYN" would break the farm, so there is none here.
"""

from collections.abc import Iterable

from ipos.lab.errors import LabError
from ipos.lab.places import Place
from ipos.lab.plan import BACK_LAN, PREFIX_LENGTH, PREFIXES

AGENT_PORTS = "7077, 7078"
"""UDP ports of the agents on the back LAN: states, and endpoints that migrate."""
_OPEN_PORTS = frozenset({22, 25, 80, 443, 8080})


def rules(tcp_ports: Iterable[int], udp_ports: Iterable[int]) -> str:
    """The ruleset for nft: the usual ports and those of the farm's services are open."""
    tcp = ", ".join(str(port) for port in sorted(_OPEN_PORTS | set(tcp_ports)))
    udp = ", ".join(str(port) for port in sorted(set(udp_ports)))
    udp_rule = f"udp dport {{ {udp} }} accept" if udp else ""
    return f"""\
flush ruleset
table inet filter {{
    chain input {{
        type filter hook input priority filter
        policy drop
        ct state established,related accept
        ct state invalid drop
        iif lo accept
        meta l4proto {{ icmp, ipv6-icmp }} accept
        tcp dport {{ {tcp} }} accept
        ip saddr {PREFIXES[BACK_LAN]}0/{PREFIX_LENGTH} udp dport {{ {AGENT_PORTS} }} accept
        {udp_rule}
    }}
}}
"""


def load(place: Place, ruleset: str) -> None:
    """Load a ruleset in a node. LabError with nft's own words if it refuses."""
    done = place.run(["nft", "-f", "-"], input=ruleset, text=True, capture_output=True)
    if done.returncode != 0:
        raise LabError(f"nft in {place.node} refused a ruleset: {done.stderr.strip()}")
