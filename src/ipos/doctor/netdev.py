# SPDX-License-Identifier: Apache-2.0
"""What the kernel says XDP can do on an interface (generic netlink, family `netdev`, Linux 6.3)."""

from enum import IntFlag
from typing import Final

from pyroute2.netlink import NLM_F_REQUEST, genlmsg
from pyroute2.netlink.generic import GenericNetlinkSocket

_DEV_GET: Final = 1
_VERSION: Final = 1


class XdpFeature(IntFlag):
    """`enum netdev_xdp_act` of linux/netdev.h, as far as the data plane needs it.

    NDO_XMIT: it can be the target of a redirect, which of a veth its other end decides.
    """

    BASIC = 1
    REDIRECT = 2
    NDO_XMIT = 4


NEEDED: Final = XdpFeature.BASIC | XdpFeature.REDIRECT | XdpFeature.NDO_XMIT


class _Device(genlmsg):  # type: ignore[misc]
    prefix = "NETDEV_A_DEV_"
    nla_map = (
        ("NETDEV_A_DEV_UNUSED", "none"),
        ("NETDEV_A_DEV_IFINDEX", "uint32"),
        ("NETDEV_A_DEV_PAD", "none"),
        ("NETDEV_A_DEV_XDP_FEATURES", "uint64"),
    )


def xdp_features(ifindex: int) -> XdpFeature | None:
    """None where the kernel does not say."""
    question = _Device()
    question["cmd"], question["version"] = _DEV_GET, _VERSION
    question["attrs"] = [("NETDEV_A_DEV_IFINDEX", ifindex)]
    try:
        with GenericNetlinkSocket() as channel:
            channel.bind("netdev", _Device)
            answers = channel.nlm_request(question, msg_type=channel.prid, msg_flags=NLM_F_REQUEST)
            for answer in answers:
                found = answer.get_attr("NETDEV_A_DEV_XDP_FEATURES")
                return None if found is None else XdpFeature(found & NEEDED)
    except Exception:  # of its own kinds, which are many; nothing is known then
        return None
    return None
