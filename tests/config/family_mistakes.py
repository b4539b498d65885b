# SPDX-License-Identifier: Apache-2.0
"""What is wrong beside an IPv6 service address, by one edit of the good configuration each."""

from ipaddress import IPv6Address

_ADDRESSES = 'addresses = ["203.0.113.1"]'
_BOTH = 'addresses = ["203.0.113.1", "2001:db8::1"]'
_HAS = "server.addresses has the IPv6 address 2001:db8::1 and"
_FROM_IDLE = (
    "idle_s = 3600\n[farm.limits]\nforward = 1_000_000\n\n[server]\n"
    'name = "s1"\nfront = "eth0"\nback = "eth1"\n' + _ADDRESSES
)
_SERVER = '\n[server]\nname = "s1"\nfront = "eth0"\nback = "eth1"\n' + _BOTH
_UPLINK = (
    '\n[[uplink]]\nname = "a"\nprefix = "203.0.113.0/24"\ngateway = "203.0.113.254"\n'
    'interface = "eth0"'
)
_WEB = '\n\n[[service]]\nname = "web"\nport = 80\n'


def _unusable(address: str, why: str) -> tuple[str, str, str, int, str]:
    return (
        f"a service address that is {why}", _ADDRESSES, f'addresses = ["{address}"]', 16,
        f"server.addresses has {IPv6Address(address)}, which is {why}",
    )  # fmt: skip


OTHERS = [
    ("IPv6 twice", _ADDRESSES, 'addresses = ["2001:db8::1", "2001:DB8:0::1"]', 16,
     "server.addresses names 2001:db8::1 twice; name each address once"),
    _unusable("fe80::1", "link-local; clients behind a router cannot reach it"),
    _unusable("ff02::1", "multicast"),
    _unusable("::1", "no address of a host"),
    _unusable("::ffff:203.0.113.1", "an IPv4 address in IPv6; name the IPv4 address itself"),
    ("IPv6 with a zone", _ADDRESSES, 'addresses = ["fe80::1%eth0"]', 16,
     ('server.addresses is ["fe80::1%eth0"]; it must be a list of 1 to 255 service addresses, '
      'such as ["203.0.113.1", "2001:db8::1"]')),
    ("IPv6 and uplinks", _ADDRESSES,
     _BOTH + _UPLINK, 16,
     f"{_HAS} there are uplinks, which lead IPv4 only; leave one of them out"),
    ("IPv6 and BGP", _FROM_IDLE, 'announce = "bgp"' + _SERVER, 8,
     (f'{_HAS} farm.announce is "bgp", by which routers are told of IPv4 addresses only; '
      'say "arp", which includes neighbour discovery')),
    ("IPv6 and own programs", _FROM_IDLE, 'own_programs = "farm"' + _SERVER, 8,
     (f'{_HAS} farm.own_programs is "farm"; own programs are clients by IPv4 only, '
      'so say "refuse"')),
    ("IPv6 and a container", f'{_ADDRESSES}{_WEB}application = "127.0.0.1:8080"',
     f'{_BOTH}{_WEB}application = "container:web"', 21,
     (f'{_HAS} service "web" has its application in container:web, where only connections over '
      "IPv4 can be given; let it listen on the server itself")),
    ("IPv6 and a session by source", f"{_ADDRESSES}{_WEB}",
     f'{_BOTH}{_WEB}session = {{ kind = "source" }}\n', 21,
     (f'{_HAS} service "web" has a session of kind = "source", which knows IPv4 clients only; '
      "keep it by a cookie, or leave the IPv6 address out")),
]  # fmt: skip
