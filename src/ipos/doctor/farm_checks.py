# SPDX-License-Identifier: Apache-2.0
"""The checks of `ipos doctor` that compare this host with its configuration. Pure, as in
`ipos.doctor.checks`.
"""

from ipos.agent.holders.route_file import PROTOCOL
from ipos.agent.network.wired_namespaces import LEAVE_TO_ENTER
from ipos.doctor.facts import Facts, Interface
from ipos.doctor.firewall import Packet, swallowed_by
from ipos.doctor.netdev import XdpFeature
from ipos.doctor.open_sockets import Listener

_BOTH = XdpFeature.BASIC | XdpFeature.REDIRECT
_ANY = ("0.0.0.0", "::")
_AGENTS_PORTS = (
    (7077, "by which the servers tell each other their states"),
    (7078, "by which connections migrate with their state"),
)


def configuration(facts: Facts) -> str | None:
    if not facts.site.missing:
        return None
    return f"There is no configuration in {facts.site.file}: `ipos setup` writes the first one."


def back_address(facts: Facts) -> str | None:
    members = facts.site.members
    if not members or not facts.back.mtu or set(members) & set(facts.back_addresses):
        return None
    has = ", ".join(facts.back_addresses) or "no IPv4 address"
    return (
        f"{facts.back.name} (back) has {has}, and the farm's members are {_some(members)}, so this "
        "server is none of them: give back one of these addresses, or add its own to members on "
        "every server."
    )


def state_port(facts: Facts) -> str | None:
    """Both UDP ports by which the agents speak to each other on back."""
    for port, purpose in _AGENTS_PORTS:
        found = swallowed_by(facts.ruleset, Packet(facts.back.name, port, protocol="udp"))
        if found is not None:
            return (
                f"{found.rule} ({found.verdict}) drops UDP port {port} on {facts.back.name}, "
                f"{purpose}: {found.fix}, or accept it before."
            )
    return None


def udp_services(facts: Facts) -> str | None:
    """Datagrams of other servers' flows come in on front, to any service address."""
    for port in facts.site.udp_ports:
        for address in facts.site.addresses or (None,):
            found = swallowed_by(
                facts.ruleset, Packet(facts.front.name, port, address, protocol="udp")
            )
            if found is not None:
                return (
                    f"{found.rule} ({found.verdict}) takes what clients send to UDP port {port} "
                    f"on {facts.front.name} away from its application: {found.fix}, or accept it "
                    "before."
                )
    return None


def listening(facts: Facts) -> str | None:
    """Some services may be other servers' only, so it is a fault where this one serves none."""
    places = facts.site.places
    absent = [place for place in places if not _is_listened(facts, place.port, place.address)]
    if not absent or len(absent) < len(places):
        return None
    named = ", ".join(f"{place.service} ({place.address or '*'}:{place.port})" for place in absent)
    return (
        f"Nothing listens here for {named}, so this server serves nothing: start the application, "
        'or say where it listens with application = "IP:PORT".'
    )


def containers(facts: Facts) -> str | None:
    """Those that services are in, or may be in because nothing outside serves them."""
    if not facts.sealed:
        return None
    site = facts.site
    absent = [one.service for one in site.places if not _is_outside(facts, one.port, one.address)]
    wanted = site.boxed or (absent if facts.containers else ())
    if not wanted:
        return None
    return (
        f"The agent may not enter the containers here, where the application of "
        f"{_some(tuple(wanted))} is or may be: {LEAVE_TO_ENTER}."
    )


def mptcp(facts: Facts) -> str | None:
    listed = _ports(
        facts, {each.port for each in (*facts.listeners, *facts.contained) if each.mptcp}
    )
    if not listed:
        return None
    return (
        f"The application on port {listed} listens with MPTCP, so it gets connections of the farm "
        "only by their SYNs, and none where routes, session, mode, decide or start of its service "
        "need the request: restart it while net.mptcp.enabled is 0, which the agent sets unless "
        '[server] mptcp is "leave", or start it with GODEBUG=multipathtcp=0 (Go).'
    )


def outside(facts: Facts) -> str | None:
    there = (*facts.listeners, *facts.contained)
    inside = {(each.port, each.address) for each in there if not each.outside}
    absent = {(each.port, each.address) for each in there if each.outside} - inside
    listed = _ports(facts, {port for port, _ in absent})
    if not listed:
        return None
    return (
        f"The application on port {listed} has made its socket outside of the cgroup IPOS_CGROUP, "
        "so it gets no connection of the farm: start it in that cgroup, or the agent without "
        "IPOS_CGROUP."
    )


def _ports(facts: Facts, among: set[int]) -> str:
    """Those of services, for people."""
    wanted = {place.port for place in facts.site.places} | set(facts.ports)
    return ", ".join(map(str, sorted(among & wanted)))


def native_xdp(facts: Facts) -> str | None:
    for side, each in (("front", facts.front), ("back", facts.back)):
        if each.xdp_features is None:
            continue
        if each.xdp_features & _BOTH != _BOTH:
            return (
                f"The driver of {each.name} ({side}) has no native XDP with redirects: use a NIC "
                "and a driver that have it; `xdp-loader features` lists what each can."
            )
        if each.kind == "veth" and not each.xdp_features & XdpFeature.NDO_XMIT:
            return (
                f"The other end of {each.name} ({side}), a veth, takes no frames from XDP: on the "
                "host that has it, ethtool -K PEER gro on."
            )
    return None


def checksums(facts: Facts) -> str | None:
    """A sender in the same machine leaves checksums to a NIC that is not there."""
    virtual = [each.name for each in (facts.front, facts.back) if _is_virtual(each)]
    if not facts.bad_checksums or not virtual:
        return None
    return (
        f"{facts.bad_checksums} packets had a wrong checksum, and {_some(virtual)} is virtual: "
        "what sends to it leaves checksums unfinished. On the host that has its other end: "
        "ethtool -K PEER tx off."
    )


def announcements(facts: Facts) -> str | None:
    """Where routers are told of addresses: by a BIRD that runs and knows the agent's file."""
    if facts.bird is None:
        return None
    if not facts.bird:
        return (
            f"BIRD does not answer `{facts.site.announcer[0]}`, so routers hear nothing of this "
            "server's addresses: apt-get install bird2, and systemctl enable --now bird."
        )
    protocols = {line.split()[0] for line in facts.bird.splitlines() if line.split()}
    if PROTOCOL in protocols:
        return None
    return (
        f"BIRD has no protocol {PROTOCOL}, so it does not read what the agent writes: say "
        'include "/run/ipos/bird*.conf"; in bird.conf, and start the agent.'
    )


def _is_virtual(interface: Interface) -> bool:
    return interface.kind in ("veth", "macvlan", "ipvlan", "netkit", "tun")


def _is_listened(facts: Facts, port: int, address: str) -> bool:
    return _is_among(facts.contained, facts, port, address) or _is_outside(facts, port, address)


def _is_outside(facts: Facts, port: int, address: str) -> bool:
    return _is_among(facts.listeners, facts, port, address)


def _is_among(there: tuple[Listener, ...], facts: Facts, port: int, address: str) -> bool:
    fits = {*_ANY, address} if address else {*_ANY, *facts.site.addresses}
    return any(each.port == port and each.address in fits for each in there)


def _some(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
