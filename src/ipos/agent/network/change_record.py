# SPDX-License-Identifier: Apache-2.0
"""What an agent has changed on its machine, as a file in the run directory keeps it."""

import re

import msgspec

from ipos.ip_family import parse_address

_OUR_SYSCTL = re.compile(
    r"mptcp/enabled|tcp_rfc1337|tcp_syncookies|conf/[^\s]{1,15}/(arp_ignore|arp_announce|rp_filter|accept_local)"
    r"|ipv6/conf/[^\s]{1,15}/disable_ipv6"
)
_NUMBER = re.compile(r"-?\d{1,9}")


class Changes(msgspec.Struct):
    """sysctls: by name, as they were before. addresses: each with its interface. routes: of
    addresses that were made local. policy: rules and routes of uplinks, in words; all that has our
    mark is taken back. notrack: whether there is a table of nftables.
    """

    sysctls: dict[str, str] = {}
    addresses: list[tuple[str, str]] = []
    routes: list[str] = []
    policy: list[str] = []
    notrack: bool = False

    def is_sensible(self) -> bool:
        """Whether it could be of ours: nothing else is written to, whatever a file says."""
        try:
            for address in [*self.routes, *(ip for ip, _ in self.addresses)]:
                parse_address(address)
        except ValueError:
            return False
        return all(
            _OUR_SYSCTL.fullmatch(name) and ".." not in name and _NUMBER.fullmatch(value)
            for name, value in self.sysctls.items()
        )
