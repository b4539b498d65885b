# SPDX-License-Identifier: Apache-2.0
"""`ipos doctor`: says what on this host prevents a farm from working, with one sentence and one fix
each.

facts         everything that is read from the host, collected at the edge
site          what the checks need of the configuration, read leniently
examination   all of the below for one server, with its agent's word and its configuration
checks        facts -> findings; one pure function per check
farm_checks   those that compare the host with its configuration; pure
firewall      whether a ruleset swallows the packet that becomes a socket; pure
netdev        what XDP can do on an interface (generic netlink)
open_sockets  listening TCP sockets, and which of them are MPTCP's (sock_diag)
"""

from ipos.doctor.checks import CHECKS, Finding, examine
from ipos.doctor.facts import Facts, Interface, collect
from ipos.doctor.open_sockets import Listener

__all__ = ["CHECKS", "Facts", "Finding", "Interface", "Listener", "collect", "examine"]
