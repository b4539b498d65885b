# SPDX-License-Identifier: Apache-2.0
"""Finds out whether address translation takes the socket away from an adopted request.

One chain of type nat, empty or not, makes the kernel look at every new connection at the hook
`input`. There it compares the client's port with that of the packet's socket
(`nf_nat_inet_port_was_mangled`, Linux net/netfilter/nf_nat_proto.c). The socket that an adopted
request comes with has no port yet, so the kernel takes it away. A packet that connection tracking
does not see (`notrack`) is left alone.
"""

from collections.abc import Sequence

from ipos.agent.network.nfnetlink import TABLE
from ipos.doctor.firewall import Packet, Rule, Table, matches


def translating_chain(tables: Sequence[Table], packet: Packet) -> str | None:
    """The name of a chain of type nat; None where there is none, or where it is kept away."""
    if is_untracked(tables, packet) is not False:  # nothing is blamed on a guess
        return None
    chains = (chain for table in tables for chain in table.values() if chain.hook)
    return next((chain.name for chain in chains if chain.kind == "nat"), None)


def is_untracked(tables: Sequence[Table], packet: Packet) -> bool | None:
    """Whether connection tracking does not see the packet; None: it may not, or may."""
    chains = (chain for table in tables for chain in table.values())
    early = (rule for chain in chains if chain.hook == "prerouting" for rule in chain.rules)
    held = [_keeps_away(rule, packet) for rule in early]
    return True if True in held else None if None in held else False


def is_kept_away_by_us(tables: Sequence[Table]) -> bool:
    """Whether the agent's own table is there, which says `notrack`."""
    return any(_is_ours(rule) for table in tables for one in table.values() for rule in one.rules)


def _is_ours(rule: Rule) -> bool:
    return rule.name.startswith(f"ip {TABLE} ")


def _keeps_away(rule: Rule, packet: Packet) -> bool | None:
    """Whether the rule says `notrack` of the packet; None: it may. Ours has sets of services."""
    if not any("notrack" in statement for statement in rule.statements):
        return False
    held = [matches(each["match"], packet) for each in rule.statements if "match" in each]
    return False if False in held else None if None in held and not _is_ours(rule) else True
