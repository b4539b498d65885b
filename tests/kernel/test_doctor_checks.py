# SPDX-License-Identifier: Apache-2.0
"""Each check alone: silent on a healthy host, one sentence with the fix on a broken one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ipos.doctor import CHECKS, Facts, Interface, Listener, checks, examine, farm_checks
from ipos.doctor.examination import attached
from ipos.doctor.firewall import parse_iptables, parse_nft
from ipos.doctor.netdev import XdpFeature
from ipos.doctor.site import Place, Site

SITE = Site(
    ports=(80,),
    addresses=("203.0.113.1",),
    members=("10.77.0.1", "10.77.0.2"),
    places=(Place("web", 80), Place("elsewhere", 81)),
    file="/etc/ipos/ipos.toml",
)
HEALTHY = Facts(
    root=True,
    kernel="6.9.0-1-amd64",
    btf=True,
    libbpf=True,
    bpffs=True,
    cgroup2=True,
    front=Interface("front", 1500, "ipos_xdp"),
    back=Interface("back", 1500, "ipos_xdp"),
    sysctls={
        "net/ipv4/tcp_syncookies": 1,
        "net/ipv4/tcp_rfc1337": 0,
        "net/ipv4/conf/all/arp_ignore": 0,
        "net/ipv4/conf/front/arp_ignore": 1,
        "net/ipv4/conf/front/arp_announce": 2,
        "net/ipv4/conf/front/rp_filter": 1,
    },
    ports=(80,),
    listeners=(Listener("0.0.0.0", 80), Listener("::", 9000, mptcp=True)),
    route_out="front",
    site=SITE,
    back_addresses=("10.77.0.1",),
)


def at_site(**said: Any) -> Facts:
    return replace(HEALTHY, site=replace(SITE, **said))


def sysctl(name: str, value: int) -> Facts:
    return replace(HEALTHY, sysctls={**HEALTHY.sysctls, name: value})


PROTOCOLS = """\
BIRD 2.0.12 ready.
Name       Proto      Table      State  Since         Info
device1    Device     ---        up     14:57:04.752
router1    BGP        ---        up     14:57:04.752  Established
"""


def with_bird(said: str) -> Facts:
    facts = at_site(announcer=("birdc", "configure"))
    return replace(facts, bird=said)


def test_a_bird_that_reads_the_agents_file_is_well() -> None:
    static = "ipos       Static     master4    up     14:57:05.260\n"
    assert farm_checks.announcements(with_bird(PROTOCOLS + static)) is None


BROKEN: list[tuple[Callable[[Facts], str | None], Facts, str]] = [
    (farm_checks.announcements, with_bird(""), "systemctl enable --now bird"),
    (farm_checks.announcements, with_bird(PROTOCOLS), 'include "/run/ipos/bird*.conf"'),
    (checks.root, replace(HEALTHY, root=False), "run `ipos doctor` as root"),
    (checks.kernel, replace(HEALTHY, kernel="6.8.12"), "install Linux 6.9 or newer"),
    (checks.kernel, replace(HEALTHY, kernel="5.10.0-28"), "install Linux 6.9 or newer"),
    (checks.kernel, replace(HEALTHY, kernel="strange"), "install Linux 6.9 or newer"),
    (checks.btf, replace(HEALTHY, btf=False), "CONFIG_DEBUG_INFO_BTF=y"),
    (checks.libbpf, replace(HEALTHY, libbpf=False), "apt-get install libbpf1"),
    (checks.bpffs, replace(HEALTHY, bpffs=False), "mount -t bpf bpf /sys/fs/bpf"),
    (checks.cgroup2, replace(HEALTHY, cgroup2=False), "mount -t cgroup2"),
    (
        checks.tcp_syncookies,
        sysctl("net/ipv4/tcp_syncookies", 0),
        "sysctl -w net.ipv4.tcp_syncookies=1",
    ),
    (checks.tcp_rfc1337, sysctl("net/ipv4/tcp_rfc1337", 1), "sysctl -w net.ipv4.tcp_rfc1337=0"),
    (checks.tcp_options, sysctl("net/ipv4/tcp_sack", 0), "sysctl -w net.ipv4.tcp_sack=1"),
    (
        checks.interfaces,
        replace(HEALTHY, back=Interface("eth7")),
        "There is no interface eth7 (back)",
    ),
    (
        checks.carrier,
        replace(HEALTHY, back=Interface("back", 1500, "ipos_xdp", carrier=False)),
        "back (back) has no carrier, so this server is out: ip link set dev back up",
    ),
    (
        checks.mtu,
        replace(HEALTHY, back=Interface("back", 1450)),
        "ip link set dev back mtu 1500",
    ),
    (
        checks.arp,
        sysctl("net/ipv4/conf/front/arp_ignore", 0),
        "sysctl -w net.ipv4.conf.front.arp_ignore=1.",
    ),
    (
        checks.arp,
        sysctl("net/ipv4/conf/all/arp_ignore", 8),
        "sysctl -w net.ipv4.conf.front.arp_ignore=1.",
    ),
    (
        checks.arp,
        sysctl("net/ipv4/conf/front/arp_announce", 0),
        "sysctl -w net.ipv4.conf.front.arp_announce=2.",
    ),
    (
        checks.rp_filter,
        replace(HEALTHY, route_out="eth2"),
        "sysctl -w net.ipv4.conf.front.rp_filter=2",
    ),
    (
        checks.back_rp_filter,
        replace(
            sysctl("net/ipv4/conf/back/rp_filter", 1), back=Interface("back", 1500, "ipos_xdp")
        ),
        "sysctl -w net.ipv4.conf.back.rp_filter=2",
    ),
    (
        checks.rps,
        replace(HEALTHY, front=Interface("front", 1500, rps=True)),
        "write 0 to /sys/class/net/front/queues/rx-*/rps_cpus",
    ),
    (
        checks.rx_vlan,
        replace(HEALTHY, front=Interface("front", 1500, untags=True, vlans=True)),
        "ethtool -K front rxvlan off",
    ),
    (
        checks.rx_vlan,
        replace(
            HEALTHY, back=Interface("back", 1500, untags=True), site=replace(SITE, tagged=("back",))
        ),
        "ethtool -K back rxvlan off",
    ),
    (
        checks.xdp_slot,
        replace(HEALTHY, front=Interface("front", 1500, "katran")),
        "The XDP slot of front is taken by program katran",
    ),
    (farm_checks.mptcp, replace(HEALTHY, ports=(80, 9000)), "GODEBUG=multipathtcp=0"),
    (farm_checks.mptcp, at_site(places=(Place("web", 9000),)), "port 9000 listens with MPTCP"),
    (
        farm_checks.outside,
        replace(HEALTHY, listeners=(Listener("0.0.0.0", 80, outside=True),)),
        "on port 80 has made its socket outside of the cgroup IPOS_CGROUP",
    ),
    (farm_checks.configuration, at_site(missing=True), "`ipos setup` writes the first one"),
    (
        farm_checks.back_address,
        replace(HEALTHY, back_addresses=("192.0.2.7",)),
        "has 192.0.2.7, and the farm's members are 10.77.0.1, 10.77.0.2",
    ),
    (
        farm_checks.listening,
        at_site(places=(Place("api", 8080, "127.0.0.1"),)),
        "Nothing listens here for api (127.0.0.1:8080)",
    ),
    (
        farm_checks.state_port,
        replace(
            HEALTHY,
            ruleset=tuple(
                parse_iptables(
                    "*filter\n:INPUT ACCEPT [0:0]\n"
                    "-A INPUT -p udp -m udp --dport 7000:8000 -j DROP\nCOMMIT\n"
                )
            ),
        ),
        "iptables -t filter -D INPUT -p udp -m udp --dport 7000:8000 -j DROP",
    ),
    (
        farm_checks.udp_services,
        replace(
            at_site(udp_ports=(53,)),
            ruleset=tuple(
                parse_iptables(
                    "*filter\n:INPUT ACCEPT [0:0]\n"
                    "-A INPUT -p udp -m udp --dport 53 -j DROP\nCOMMIT\n"
                )
            ),
        ),
        "takes what clients send to UDP port 53 on front away from its application",
    ),
    (
        farm_checks.native_xdp,
        replace(HEALTHY, front=Interface("front", 1500, xdp_features=XdpFeature(0))),
        "The driver of front (front) has no native XDP",
    ),
    (
        farm_checks.native_xdp,
        replace(HEALTHY, back=Interface("back", 1500, kind="veth", xdp_features=XdpFeature(3))),
        "ethtool -K PEER gro on",
    ),
    (
        farm_checks.checksums,
        replace(HEALTHY, front=Interface("front", 1500, kind="veth"), bad_checksums=12),
        "ethtool -K PEER tx off",
    ),
    (
        checks.firewall,
        replace(
            HEALTHY,
            ruleset=tuple(parse_iptables("*filter\n:INPUT DROP [0:0]\nCOMMIT\n")),
        ),
        "let tcp port 80 in there",
    ),
    (
        farm_checks.containers,
        replace(at_site(boxed=("web",)), sealed=True),
        "copy containers.conf, which comes with the package, to /etc/systemd/system/",
    ),
    (
        checks.nat,
        replace(
            HEALTHY,
            ruleset=tuple(parse_iptables("*nat\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n")),
        ),
        "notrack",
    ),
]


@pytest.mark.parametrize(
    ("check", "facts", "fix"), BROKEN, ids=[f"{b[0].__name__}-{i}" for i, b in enumerate(BROKEN)]
)
def test_fault_is_one_sentence_with_its_fix(
    check: Callable[[Facts], str | None], facts: Facts, fix: str
) -> None:
    message = check(facts)
    assert message is not None
    assert fix in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize("mptcp", [False, True])
def test_what_listens_in_a_container_counts(mptcp: bool) -> None:
    facts = at_site(places=(Place("api", 8080),))
    inside = (Listener("0.0.0.0", 8080, mptcp),)
    assert farm_checks.listening(facts) is not None
    assert farm_checks.listening(replace(facts, contained=inside)) is None
    assert (farm_checks.mptcp(replace(facts, contained=inside)) is not None) == mptcp


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_healthy_host_has_no_fault(check: Callable[[Facts], str | None]) -> None:
    assert check(HEALTHY) is None


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_check_has_a_broken_host(check: Callable[[Facts], str | None]) -> None:
    assert any(check is tried for tried, _, _ in BROKEN)


def test_who_is_not_root_is_told_what_was_not_looked_at() -> None:
    unseen = [each for each in examine(replace(HEALTHY, root=False)) if not each.seen]
    assert {each.check for each in unseen} == {
        *("xdp_slot", "firewall", "nat", "state_port", "checksums", "udp_services")
    }
    assert not any(each.ok for each in unseen)


def test_of_an_interface_that_is_not_there_nothing_is_called_well() -> None:
    gone = replace(HEALTHY, back=Interface("back", 0), back_addresses=())
    said = {each.check: each for each in examine(gone)}
    assert not said["interfaces"].ok
    assert said["interfaces"].seen
    unseen = {name for name, each in said.items() if not each.seen}
    assert unseen == {check.__name__ for check in checks.NEED_INTERFACES}
    bad = replace(gone, front=replace(HEALTHY.front, mtu=1400))
    (found,) = (each for each in examine(bad) if each.check == "mtu")
    assert found.seen
    assert "mtu 1500" in found.message


def test_a_firewall_for_tcp_says_nothing_of_states() -> None:
    saved = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 7077 -j DROP\nCOMMIT\n"
    facts = replace(HEALTHY, ruleset=tuple(parse_iptables(saved)))
    assert farm_checks.state_port(facts) is None


@pytest.mark.parametrize("port", [7077, 7078])
def test_each_port_of_the_agents_is_named_with_its_fix(port: int) -> None:
    saved = f"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p udp -m udp --dport {port} -j DROP\nCOMMIT\n"
    said = farm_checks.state_port(replace(HEALTHY, ruleset=tuple(parse_iptables(saved))))
    assert said is not None
    assert f"UDP port {port} on back" in said
    assert f"iptables -t filter -D INPUT -p udp -m udp --dport {port} -j DROP" in said


def test_one_fault_does_not_hide_another() -> None:
    findings = examine(replace(sysctl("net/ipv4/tcp_rfc1337", 1), btf=False))
    assert [each.check for each in findings if not each.ok] == ["btf", "tcp_rfc1337"]
    assert len(findings) == len(CHECKS)


def test_arp_is_the_agents_affair_before_it_has_started() -> None:
    idle = replace(sysctl("net/ipv4/conf/front/arp_ignore", 0), front=Interface("front", 1500))
    assert checks.arp(idle) is None


def test_strict_loose_setting_is_named() -> None:
    saved = (
        "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n"
    )
    facts = replace(
        HEALTHY,
        ruleset=tuple(parse_iptables(saved)),
        sysctls={"net/netfilter/nf_conntrack_tcp_loose": 0},
    )
    assert "nf_conntrack_tcp_loose is 0" in (checks.firewall(facts) or "")
    assert checks.firewall(replace(facts, sysctls={})) is None


def test_who_may_not_read_a_programs_name_takes_it_for_ours() -> None:
    """As an agent with no more than the rights of its unit, which knows that it has attached."""
    for program, says in (("", False), ("id 28982", False), ("katran", True)):
        facts = replace(HEALTHY, front=replace(HEALTHY.front, xdp=program))
        assert (checks.xdp_slot(attached(facts)) is not None) == says
    assert checks.xdp_slot(replace(HEALTHY, front=replace(HEALTHY.front, xdp="id 28982")))


@pytest.mark.parametrize(
    ("changes", "well"),
    [
        ({"boxed": ("web",)}, False),
        ({"places": (Place("web", 80),)}, True),
        ({"places": (Place("web", 80), Place("api", 8080))}, False),
    ],
)
def test_containers_that_the_agent_may_not_enter(changes: dict[str, Any], well: bool) -> None:
    """They are needed where a service says so, or where nothing else listens for one."""
    facts = replace(at_site(**changes), containers=2)
    assert farm_checks.containers(facts) is None
    assert (farm_checks.containers(replace(facts, sealed=True)) is None) == well


_NAT = "*nat\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n"
_OURS: list[dict[str, Any]] = [
    {"chain": {"family": "ip", "table": "ipos", "name": "in", "hook": "prerouting",
               "type": "filter", "policy": "accept", "handle": 1}},
    {"rule": {"family": "ip", "table": "ipos", "chain": "in", "handle": 2, "expr": [
        {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}},
                   "right": "@ports"}},
        {"notrack": None}]}},
]  # fmt: skip


def test_before_its_start_translation_is_the_agents_affair_unless_it_is_to_leave_it() -> None:
    facts = replace(HEALTHY, ruleset=tuple(parse_iptables(_NAT)), front=Interface("front", 1500))
    assert checks.nat(facts) is None
    assert checks.nat(replace(facts, site=replace(SITE, notrack="leave"))) is not None


def test_the_agents_own_table_is_good_to_know() -> None:
    ruleset = (*parse_iptables(_NAT), *parse_nft({"nftables": _OURS}))
    (found,) = (each for each in examine(replace(HEALTHY, ruleset=ruleset)) if each.check == "nat")
    assert found.ok
    assert "by the table ip ipos of nftables" in found.message


@pytest.mark.parametrize(
    ("accepts", "well"), [("-m conntrack --ctstate NEW ", False), ("", True)], ids=["new", "any"]
)
def test_an_untracked_request_is_not_a_new_one(accepts: str, well: bool) -> None:
    rule = f"-A INPUT -p tcp -m tcp --dport 80 {accepts}-j ACCEPT"
    saved = f"*filter\n:INPUT DROP [0:0]\n{rule}\nCOMMIT\n"
    tracked = parse_iptables(saved + _NAT)
    assert checks.firewall(replace(HEALTHY, ruleset=tuple(tracked))) is None
    ruleset = (*tracked, *parse_nft({"nftables": _OURS}))
    found = checks.firewall(replace(HEALTHY, ruleset=ruleset))
    assert (found is None) == well
    assert found is None or "connection tracking does not see it" in found


def test_what_is_not_tracked_is_not_translated() -> None:
    rule = "-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80"
    published = parse_iptables(f"*nat\n:PREROUTING ACCEPT [0:0]\n{rule}\nCOMMIT\n")
    found = checks.firewall(replace(HEALTHY, ruleset=tuple(published)))
    assert found is not None
    assert "sends port 80 elsewhere" in found
    ruleset = (*published, *parse_nft({"nftables": _OURS}))
    assert checks.firewall(replace(HEALTHY, ruleset=ruleset)) is None
