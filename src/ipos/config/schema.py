# SPDX-License-Identifier: Apache-2.0
"""The configuration file as values: one struct per TOML table.

What a field may hold is its type; the words of its `Meta` finish the sentence "it must be ..."
that a user reads when it holds something else. Defaults are here and nowhere else. What no single
field can tell (duplicate ports, unknown pools) is in `ipos.config.crosscheck`.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from ipos.config.agent_section import Agent
from ipos.config.connection_id import ConnectionId
from ipos.config.health_check import Check
from ipos.config.listener import Listener
from ipos.config.offers import Offers
from ipos.config.spawning import Spawn
from ipos.config.starting import Start
from ipos.config.uplink import Uplink
from ipos.ip_family import Address, Network
from ipos.selection.policies import Policy

FLOW_IDLE_S = 60
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"
INTERFACE_PATTERN = r"^[^\s/:\x00-\x1f\x7f]{1,15}$"


def _named(example: str) -> Any:
    return Meta(
        pattern=NAME_PATTERN,
        description=f'1 to 32 letters, digits, hyphens and underscores, such as "{example}"',
    )


def _interface(example: str) -> Any:
    return Meta(
        pattern=INTERFACE_PATTERN,
        description=f'the name of a network interface of this server, such as "{example}"',
    )


def _one_of(names: Iterable[str]) -> str:
    *others, last = (f'"{name}"' for name in names)
    return f"{', '.join(others)} or {last}"


Entries = Annotated[
    int,
    Meta(ge=16, le=16_777_216, description="a number of table entries from 16 to 16777216"),
]
Vlan = Annotated[int, Meta(ge=0, le=4094, description="a VLAN id from 1 to 4094, or 0 for none")]
Port = Annotated[int, Meta(ge=1, le=65535, description="a port number from 1 to 65535")]
UpToDay = Annotated[int, Meta(ge=1, le=86_400, description="1 to 86400 seconds")]
Weight = Annotated[int, Meta(ge=0, le=65535)]
PolicyName = Annotated[
    str,
    Meta(
        pattern=f"^(?:{'|'.join(policy.title for policy in Policy)})$",
        description=_one_of(policy.title for policy in Policy),
    ),
]
Addresses = Annotated[list[Address], Meta(min_length=1, max_length=255)]


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """`[farm.limits]`: entries per table; where nothing is said, the data plane's own.

    All of it is taken when the data plane is loaded. `holding` is of requests that are not yet
    complete, and each entry has a KiB beside it.
    """

    forward: Entries | None = None
    local: Entries | None = None
    connect: Entries | None = None
    temporary: Entries | None = None
    holding: Entries | None = None


class Farm(Struct, frozen=True, forbid_unknown_fields=True, rename={"return_": "return"}):
    """`[farm]`: the same on every server.

    `own_programs` is what becomes of a connection that a program on a server makes to a service.
    "farm": the same as of any other client's. With "refuse" and "local" that server's application
    has it; where routes or a session could have led it to another server, "refuse" refuses it.
    `locates_per_s` is how often one server may ask all others whose connection a packet is of;
    farms of more than 16 servers have less for each. `return` counts where there are uplinks. With
    "source" an answer leaves by the uplink that its source address belongs to, with "owner" by the
    one that the server which answers is on.
    """

    name: Annotated[str, _named("shop")]
    secret_file: Annotated[
        Path, Meta(description='the path of a file with the secret, such as "/etc/ipos/farm.key"')
    ]
    members: Annotated[
        list[IPv4Address],
        Meta(
            min_length=1,
            description='a list of at most 1000 back addresses, as ["10.77.0.1", "10.77.0.2"]',
        ),
    ] = field(default_factory=list)
    discover: Annotated[bool, Meta(description="true or false")] = False
    authenticate: Annotated[bool, Meta(description="true or false")] = True
    ethertype: Annotated[
        int,
        Meta(ge=1, le=0xFFFF, description="an Ethernet type from 1 to 0xFFFF, such as 0x88B5"),
    ] = 0x0007
    header_timeout_ms: Annotated[
        int, Meta(ge=100, le=600_000, description="100 to 600000 milliseconds")
    ] = 5000
    first_byte_timeout_s: UpToDay = 60
    waiting_timeout_s: UpToDay = 60
    idle_s: Annotated[int, Meta(ge=1, le=31_536_000, description="1 to 31536000 seconds")] = 3600
    deny: Annotated[
        list[Network],
        Meta(
            max_length=16_384,
            description="a list of clients' networks by their first addresses, at most 16384, "
            'such as ["198.51.100.0/24", "2001:db8:7::/48"]',
        ),
    ] = field(default_factory=list)
    own_programs: Annotated[
        Literal["refuse", "local", "farm"], Meta(description='"refuse", "local" or "farm"')
    ] = "refuse"
    announce: Annotated[
        Literal["arp", "bgp", "none"], Meta(description='"arp", "bgp" or "none"')
    ] = "arp"
    return_: Annotated[Literal["source", "owner"], Meta(description='"source" or "owner"')] = (
        "source"
    )
    locates_per_s: Annotated[
        int, Meta(ge=0, le=65_535, description="1 to 65535 frames a second, or 0 for none")
    ] = 4096
    limits: Limits = Limits()


class Server(Struct, frozen=True, forbid_unknown_fields=True):
    """`[server]`: this machine."""

    name: Annotated[str, _named("s1")]
    front: Annotated[str, _interface("eth0")]
    back: Annotated[str, _interface("eth1")]
    addresses: Annotated[
        Addresses,
        Meta(
            description="a list of 1 to 255 service addresses, such as "
            '["203.0.113.1", "2001:db8::1"]'
        ),
    ]
    front_vlan: Vlan = 0
    back_vlan: Vlan = 0
    max_connections: Annotated[
        int,
        Meta(ge=0, le=16_777_216, description="connections from 1 to 16777216, or 0 for no limit"),
    ] = 0
    bandwidth: Annotated[
        int,
        Meta(
            ge=0,
            le=10**13,
            description="bits per second, or 0 for the link's own",
        ),
    ] = 0
    on_stop: Annotated[Literal["stay", "leave"], Meta(description='"stay" or "leave"')] = "stay"
    leave_timeout_s: Annotated[
        int, Meta(ge=1, le=86_400, description="seconds from 1 to 86400")
    ] = 30
    ready_port: Annotated[
        int, Meta(ge=0, le=65_535, description="a port from 1 to 65535, or 0 for none")
    ] = 0
    mptcp: Annotated[Literal["off", "leave"], Meta(description='"off" or "leave"')] = "off"
    notrack: Annotated[Literal["auto", "leave"], Meta(description='"auto" or "leave"')] = "auto"
    access_log_file: (
        Annotated[Path, Meta(description='the path of a file, such as "/var/log/ipos/access.log"')]
        | None
    ) = None
    access_log_to: Annotated[
        Literal["file", "syslog", "journald"], Meta(description='"file", "syslog" or "journald"')
    ] = "file"
    access_log_format: Annotated[
        Literal["decisions", "json", "combined", "haproxy"],
        Meta(description='"decisions", "json", "combined" or "haproxy"'),
    ] = "decisions"


class Session(Struct, frozen=True, forbid_unknown_fields=True):
    """`session = { ... }` of a service: how a client comes back to the same server.

    A cookie that the iNIC makes is called IPOS if it has no name here. `expire_s` is how long a
    session that is learned or identified is remembered without being used. `name` is what a server
    is called by the clients that `kind = "redirect"` sends there, `scheme` and `port` how they
    reach it: what ends TLS before the farm has others than the service. The rest are attributes of
    a cookie that the iNIC makes (RFC 6265, 4.1).
    """

    kind: Annotated[
        Literal["insert", "learn", "identify", "redirect", "source"],
        Meta(description='"insert", "learn", "identify", "redirect" or "source"'),
    ]
    cookie: (
        Annotated[
            str,
            Meta(
                pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$",
                description='the name of a cookie, such as "IPOS"',
            ),
        ]
        | None
    ) = None
    expire_s: Annotated[int, Meta(ge=60, le=2_592_000, description="60 to 2592000 seconds")] = (
        86_400
    )
    path: Annotated[str, Meta(pattern=r"^/[!-:<-~]{0,127}$", description='a path, such as "/"')] = (
        "/"
    )
    domain: (
        Annotated[
            str,
            Meta(
                pattern=r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$",
                max_length=100,
                description='a domain, such as "example.org"',
            ),
        ]
        | None
    ) = None
    max_age_s: (
        Annotated[int, Meta(ge=1, le=34_560_000, description="1 to 34560000 seconds")] | None
    ) = None
    http_only: Annotated[bool, Meta(description="true or false")] = True
    secure: Annotated[bool, Meta(description="true or false")] = False
    same_site: (
        Annotated[Literal["strict", "lax", "none"], Meta(description='"strict", "lax" or "none"')]
        | None
    ) = None
    name: (
        Annotated[
            str,
            Meta(
                pattern=r"^([A-Za-z0-9-]+\.)*[A-Za-z0-9-]*\{server\}[A-Za-z0-9-]*(\.[A-Za-z0-9-]+)*$",
                max_length=72,
                description="a host name of at most 72 characters with {server} in it, such as "
                '"{server}.example.org"',
            ),
        ]
        | None
    ) = None

    scheme: Annotated[Literal["http", "https"], Meta(description='"http" or "https"')] = "http"
    port: Annotated[int, Meta(ge=1, le=65535, description="1 to 65535")] | None = None

    @property
    def cookie_name(self) -> str:
        return self.cookie or "IPOS"

    def own_place(self, server: str, service_port: int) -> str:
        """A server's own name as a URL without a path."""
        usual = {"http": 80, "https": 443}[self.scheme]
        port = self.port or (service_port if self.scheme == "http" else usual)
        end = "" if port == usual else f":{port}"
        return f"{self.scheme}://{self.own_name(server)}{end}"

    def own_name(self, server: str) -> str:
        """What a server is called by clients; its name has at most 96 characters."""
        return (self.name or "").replace("{server}", server).lower()


class Service(Struct, frozen=True, forbid_unknown_fields=True):
    """`[[service]]`: what clients connect to, on every service address of the farm.

    `mode` is what its clients speak. "http", "tls": nothing else is let in. "tcp": anything, and it
    is never read. "auto": if a route, `session` or `decide` asks for something of a request, TLS by
    its ClientHello and else HTTP; if none does, as "tcp". "quic" is for UDP.
    """

    name: Annotated[str, _named("web")]
    port: Port
    protocol: Annotated[Literal["tcp", "udp"], Meta(description='"tcp" or "udp"')] = "tcp"
    select: Annotated[
        Literal["request", "connection"], Meta(description='"request" or "connection"')
    ] = "request"
    decide: Annotated[
        Literal["connection", "request"], Meta(description='"connection" or "request"')
    ] = "connection"
    mode: Annotated[
        Literal["auto", "http", "tls", "tcp", "quic"],
        Meta(description='"auto", "http", "tls", "tcp" or "quic"'),
    ] = "auto"
    policy: PolicyName = "least-loaded"
    slow_start_ms: Annotated[
        int, Meta(ge=0, le=3_600_000, description="0 to 3600000 milliseconds")
    ] = 10_000
    application: (
        Annotated[
            Listener,
            Meta(
                description="where its application listens, such as "
                '"127.0.0.1:8080" or "container:web:8080"'
            ),
        ]
        | None
    ) = None
    session: Session | None = None
    idle_s: Annotated[int, Meta(ge=1, le=65_535, description="seconds from 1 to 65535")] | None = (
        None
    )
    connection_id: ConnectionId | None = None
    check: Check | None = None
    start: Start | None = None
    access_log: Annotated[
        float, Meta(ge=0, le=1, description="a share of the decisions from 0 to 1, such as 0.01")
    ] = 0.0

    @property
    def listener(self) -> Listener:
        """Where the application listens on each server."""
        one = self.application or Listener(IPv4Address(0), self.port)
        return one if one.port else Listener(one.ip, self.port, one.box)

    @property
    def flow_idle_s(self) -> int:
        """After so many seconds without a datagram a flow of UDP is over; 0: it is not UDP."""
        if self.protocol != "udp":
            return 0
        return FLOW_IDLE_S if self.idle_s is None else self.idle_s


class Pool(Struct, frozen=True, forbid_unknown_fields=True):
    """`[[pool]]`: servers by name, each with a weight; without `policy`, the service's counts."""

    name: Annotated[str, _named("images")]
    servers: Annotated[
        dict[str, Weight],
        Meta(
            min_length=1,
            max_length=1000,
            description="1 to 1000 servers with weights from 0 to 65535, as { s2 = 1, s3 = 3 }",
        ),
    ]
    policy: PolicyName | None = None


class Route(Struct, frozen=True, forbid_unknown_fields=True):
    """`[[route]]`: which requests of a service go to which pool, or to which servers alike."""

    service: Annotated[str, _named("web")]
    pool: Annotated[str, _named("images")] | None = None
    servers: (
        Annotated[
            list[Annotated[str, Meta(pattern=NAME_PATTERN)]],
            Meta(
                min_length=1,
                max_length=1000,
                description='a list of 1 to 1000 names, such as ["s1", "s2"]',
            ),
        ]
        | None
    ) = None
    host: Annotated[
        str,
        Meta(
            pattern=r"^(\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)$",
            description='a host name, such as "www.example.org" or "*.example.org"',
        ),
    ] = "*"
    path: Annotated[
        str,
        Meta(
            pattern=r"^=?/[^\x00-\x1f\x7f]*$",
            description='a path prefix such as "/img/", or an exact path such as "=/img"',
        ),
    ] = "/"
    alpn: Offers | None = None

    @property
    def takes_all(self) -> bool:
        """Whether it says nothing but the service's pool."""
        return self.host == "*" and self.path == "/" and self.alpn is None


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole file."""

    farm: Farm
    server: Server
    agent: Agent = field(default_factory=Agent)
    uplink: list[Uplink] = field(default_factory=list)
    service: list[Service] = field(default_factory=list)
    spawn: list[Spawn] = field(default_factory=list)
    pool: list[Pool] = field(default_factory=list)
    route: list[Route] = field(default_factory=list)
