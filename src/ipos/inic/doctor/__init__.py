# SPDX-License-Identifier: Apache-2.0
"""`ipos doctor`: what of this host stands in the way, one sentence and one fix each.

facts       everything that is read from the host, collected at the edge
checks      facts -> findings; one pure function per check
firewall    whether a ruleset swallows the packet that becomes a socket; pure
sockets     listening TCP sockets, and which of them are MPTCP's (sock_diag)
"""

from ipos.inic.doctor.checks import CHECKS, Finding, examine
from ipos.inic.doctor.facts import Facts, Interface, collect
from ipos.inic.doctor.sockets import Listener

__all__ = ["CHECKS", "Facts", "Finding", "Interface", "Listener", "collect", "examine"]
