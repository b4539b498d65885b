# SPDX-License-Identifier: Apache-2.0
"""Which programs a server needs on which hooks."""

import errno
import socket
from collections.abc import Sequence
from pathlib import Path

from ipos.kernel.hooks import Attachment, Hook
from ipos.kernel.libbpf.errors import AttachError


def default_plan(
    front: int | str,
    back: int | str,
    cgroup: Path | str | None,
    *,
    lookup: bool = False,
    own_front: int = 0,
    more: Sequence[int] = (),
    quic: bool = False,
    six: bool = False,
) -> list[Attachment]:
    """What a server needs: xdp and ingress on both interfaces, egress on front, sockops.

    Interfaces by index or name, in the network namespace of this thread; they may be the same.
    Answers to clients leave by front, so nothing of back's egress is looked at. lookup: some
    service refuses this server's own programs. Each look-up of a listener costs more then.
    own_front: where own programs come in that are clients of the farm. more: other interfaces
    towards clients. quic: some service has mode "quic"; its program comes before ingress. six: some
    service has an IPv6 address.
    """
    front, back = interface_index(front), interface_index(back)
    plan = [] if cgroup is None else [Attachment(Hook.SOCKOPS, cgroup=Path(cgroup))]
    plan += [Attachment(Hook.LOOKUP)] if lookup else []
    found = [index for index in dict.fromkeys((front, back, own_front, *more)) if index]
    for ifindex in found:
        plan += [Attachment(Hook.INGRESS, ifindex), Attachment(Hook.XDP, ifindex)]
    plan += [Attachment(Hook.OWN, interface_index("lo"))] if own_front else []
    fronts = dict.fromkeys((front, *more))
    plan += [Attachment(Hook.QUIC, index) for index in fronts if quic]
    plan += [Attachment(Hook.EGRESS, index) for index in fronts]
    if six:
        plan += [] if cgroup is None else [Attachment(Hook.SOCKOPS6, cgroup=Path(cgroup))]
        plan += [Attachment(Hook.INGRESS6, ifindex) for ifindex in found]
        plan += [Attachment(Hook.EGRESS6, index) for index in fronts]
    return plan


def interface_index(interface: int | str) -> int:
    if isinstance(interface, int):
        return interface
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        raise AttachError(f"there is no interface {interface} here", errno.ENODEV) from None
