# SPDX-License-Identifier: Apache-2.0
"""Finds out whether address translation takes the socket away from an adopted request.

One chain of type nat, empty or not, makes the kernel look at every new connection at the hook
`input`. There it compares the client's port with that of the packet's socket
(`nf_nat_inet_port_was_mangled`, Linux net/netfilter/nf_nat_proto.c). The socket that an adopted
request comes with has no port yet, so the kernel takes it away. A packet that connection tracking
does not see (`notrack`) is left alone.
"""

from collections.abc import Sequence

from ipos.doctor.firewall import Packet, Rule, Table, matches


def translating_chain(tables: Sequence[Table], packet: Packet) -> str | None:
    """The name of a chain of type nat; None where there is none, or where it is kept away."""
    chains = [chain for table in tables for chain in table.values() if chain.hook]
    early = (rule for chain in chains if chain.hook == "prerouting" for rule in chain.rules)
    if any(_keeps_away(rule, packet) for rule in early):
        return None
    return next((chain.name for chain in chains if chain.kind == "nat"), None)


def _keeps_away(rule: Rule, packet: Packet) -> bool:
    """Whether the rule may hold for the packet and says `notrack`: nothing is blamed on a guess."""
    if not any("notrack" in statement for statement in rule.statements):
        return False
    held = [matches(each["match"], packet) for each in rule.statements if "match" in each]
    return False not in held
