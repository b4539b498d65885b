# SPDX-License-Identifier: Apache-2.0
"""The kernel settings of a server: which ones the agent sets, how they are called, read and
spoken of.

They go by their names below /proc/sys/net/ipv4, or below /proc/sys/net for all that is not there.
"""

from pathlib import Path

from ipos.agent.network.errors import NetworkError

_SYS = Path("/proc/sys/net")
_ELSEWHERE = ("mptcp/", "ipv6/")

SYSCTLS = {
    # A local route for another's address would make us answer ARP for it, and ask in its name.
    "conf/{front}/arp_ignore": "1",
    "conf/{front}/arp_announce": "2",
    # The iNIC ends TIME_WAIT sockets by a RST, which this setting would have ignored.
    "tcp_rfc1337": "0",
}
BACK_SYSCTLS = {
    # Packets of migrated connections come in here and their answers leave by front.
    "conf/{back}/rp_filter": "2",
}
OWN_SYSCTLS = {
    # Own programs of other servers are clients, and their addresses are local here.
    "conf/{front}/accept_local": "1",
    "conf/{back}/accept_local": "1",
    "conf/{front}/rp_filter": "2",
}
IPV6_SYSCTLS = {
    # Packets for IPv6 service addresses come in by both.
    "ipv6/conf/{front}/disable_ipv6": "0",
    "ipv6/conf/{back}/disable_ipv6": "0",
}
SYNCOOKIES = "tcp_syncookies"
MPTCP = "mptcp/enabled"
"""Not every kernel has it."""


def wanted(front: str, back: str, *, own: bool = False) -> dict[str, str]:
    """The settings of two interfaces. own: where own programs are clients, too."""
    found = {name.format(front=front): value for name, value in SYSCTLS.items()}
    if back != front:
        found |= {name.format(back=back): value for name, value in BACK_SYSCTLS.items()}
    if own:
        found |= {name.format(front=front, back=back): v for name, v in OWN_SYSCTLS.items()}
    return found


def wanted6(front: str, back: str) -> dict[str, str]:
    """The settings without which no packet by IPv6 is taken."""
    return {name.format(front=front, back=back): v for name, v in IPV6_SYSCTLS.items()}


def place(name: str) -> Path:
    return _SYS / name if name.startswith(_ELSEWHERE) else _SYS / "ipv4" / name


def spoken(name: str) -> str:
    """As sysctl(8) says it: a dot of an interface's name is a slash there."""
    words = place(name).relative_to(_SYS.parent)
    return str(words).translate(str.maketrans("/.", "./"))


def read(name: str) -> str:
    """NetworkError when the kernel has no such setting."""
    try:
        return place(name).read_text().strip()
    except OSError as error:
        raise NetworkError(f"cannot read {spoken(name)}: {error.strerror}") from None
