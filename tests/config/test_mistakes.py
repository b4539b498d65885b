# SPDX-License-Identifier: Apache-2.0
"""Every field of the configuration with a wrong value, and the exact sentence a user reads."""

from pathlib import Path

import pytest
from msgspec import Struct

from ipos.config import ConfigError, load, parse
from ipos.config import schema as schema_module
from ipos.config.schema import Config

GOOD = """\
[farm]
name = "shop"
secret_file = "farm.key"
members = ["10.77.0.1", "10.77.0.2"]
authenticate = true
ethertype = 0x0007
header_timeout_ms = 5000
idle_s = 3600
[farm.limits]
forward = 1_000_000

[server]
name = "s1"
front = "eth0"
back = "eth1"
addresses = ["203.0.113.1"]

[[service]]
name = "web"
port = 80
application = "127.0.0.1:8080"
check = { http = "/health", interval_ms = 500, rise = 2, fall = 3 }

[[service]]
name = "mail"
port = 25
select = "connection"

[[pool]]
name = "all"
servers = { s1 = 1, s2 = 3 }

[[route]]
service = "web"
pool = "all"
"""

NAME = "1 to 32 letters, digits, hyphens and underscores, such as"
INTERFACE = "the name of a network interface of this server, such as"
ENTRIES = "a number of table entries from 16 to 16777216"
PORT = "a port number from 1 to 65535"
VLAN = "a VLAN id from 1 to 4094, or 0 for none"
MEMBERS = 'a list of back addresses, such as ["10.77.0.1", "10.77.0.2"]'
WEIGHTS = "servers with weights from 0 to 65535, such as { s2 = 1, s3 = 3 }"
DENY = (
    "a list of clients' networks by their first addresses, such as "
    '["198.51.100.0/24", "192.0.2.7/32"]'
)
CHECKS = "a number of checks from 1 to 100"
SECRET = 'the path of a file with the secret, such as "/etc/ipos/farm.key"'
APPLICATION = 'the address its application has, such as "127.0.0.1:8080"'
POLICY = (
    '"least-loaded", "least-connections", "least-cpu", "weighted", "round-robin", "random", '
    '"source-hash" or "fixed"'
)

# field of the schema, what is replaced, by what, line, sentence
FIELDS = [
    ("Farm.name", 'name = "shop"', 'name = "shop!"', 2,
     f'farm.name is "shop!"; it must be {NAME} "shop"'),
    ("Farm.secret_file", '"farm.key"', "7", 3, f"farm.secret_file is 7; it must be {SECRET}"),
    ("Farm.members", '["10.77.0.1", "10.77.0.2"]', '["10.77.0.1", "ten"]', 4,
     f'farm.members is ["10.77.0.1", "ten"]; it must be {MEMBERS}'),
    ("Farm.discover", "authenticate = true", 'discover = "yes"', 5,
     'farm.discover is "yes"; it must be true or false'),
    ("Farm.authenticate", "authenticate = true", "authenticate = 1", 5,
     "farm.authenticate is 1; it must be true or false"),
    ("Farm.ethertype", "0x0007", "0x10000", 6,
     "farm.ethertype is 65536; it must be an Ethernet type from 1 to 0xFFFF, such as 0x88B5"),
    ("Farm.header_timeout_ms", "= 5000", "= 5", 7,
     "farm.header_timeout_ms is 5; it must be 100 to 600000 milliseconds"),
    ("Farm.idle_s", "= 3600", "= 0", 8, "farm.idle_s is 0; it must be 1 to 31536000 seconds"),
    ("Farm.deny", "idle_s = 3600", 'deny = ["198.51.100.1/24"]', 8,
     f'farm.deny is ["198.51.100.1/24"]; it must be {DENY}'),
    ("Farm.limits", "[farm.limits]\nforward = 1_000_000", "limits = 3", 9,
     "farm.limits is 3; it must be a table"),
    ("Limits.forward", "1_000_000", "1", 10, f"farm.limits.forward is 1; it must be {ENTRIES}"),
    ("Limits.local", "forward = 1_000_000", "local = 1", 10,
     f"farm.limits.local is 1; it must be {ENTRIES}"),
    ("Limits.connect", "forward = 1_000_000", 'connect = "many"', 10,
     f'farm.limits.connect is "many"; it must be {ENTRIES}'),
    ("Limits.temporary", "forward = 1_000_000", "temporary = -1", 10,
     f"farm.limits.temporary is -1; it must be {ENTRIES}"),
    ("Limits.holding", "forward = 1_000_000", "holding = 99999999", 10,
     f"farm.limits.holding is 99999999; it must be {ENTRIES}"),
    ("Server.name", '"s1"', '""', 13, f'server.name is ""; it must be {NAME} "s1"'),
    ("Server.front", '"eth0"', '"eth 0"', 14,
     f'server.front is "eth 0"; it must be {INTERFACE} "eth0"'),
    ("Server.back", '"eth1"', '"a-name-that-is-too-long"', 15,
     f'server.back is "a-name-that-is-too-long"; it must be {INTERFACE} "eth1"'),
    ("Server.addresses", '["203.0.113.1"]', '"203.0.113.1"', 16,
     ('server.addresses is "203.0.113.1"; it must be a list of service addresses, such as '
     '["203.0.113.1"]')),
    ("Server.front_vlan", 'back = "eth1"', 'back = "eth1"\nfront_vlan = 5000', 16,
     f"server.front_vlan is 5000; it must be {VLAN}"),
    ("Server.back_vlan", 'back = "eth1"', 'back = "eth1"\nback_vlan = "7"', 16,
     f'server.back_vlan is "7"; it must be {VLAN}'),
    ("Server.max_connections", 'back = "eth1"', 'back = "eth1"\nmax_connections = "few"', 16,
     ('server.max_connections is "few"; it must be connections from 1 to 16777216, or 0 for no '
     'limit')),
    ("Service.name", '"web"\nport', '"web site"\nport', 19,
     f'service[1].name is "web site"; it must be {NAME} "web"'),
    ("Service.port", "port = 80", "port = 80000", 20,
     f"service[1].port is 80000; it must be {PORT}"),
    ("Service.protocol", "port = 80", 'port = 80\nprotocol = "sctp"', 21,
     'service[1].protocol is "sctp"; it must be "tcp" or "udp"'),
    ("Service.select", '"connection"', '"never"', 27,
     'service[2].select is "never"; it must be "request" or "connection"'),
    ("Service.decide", "port = 80", 'port = 80\ndecide = "often"', 21,
     'service[1].decide is "often"; it must be "connection" or "request"'),
    ("Service.policy", "port = 80", 'port = 80\npolicy = "best"', 21,
     f'service[1].policy is "best"; it must be {POLICY}'),
    ("Service.slow_start_ms", "port = 80", "port = 80\nslow_start_ms = -1", 21,
     "service[1].slow_start_ms is -1; it must be 0 to 3600000 milliseconds"),
    ("Service.application", '"127.0.0.1:8080"', '"127.0.0.1"', 21,
     f'service[1].application is "127.0.0.1"; it must be {APPLICATION}'),
    ("Server.access_log_file", 'back = "eth1"', 'back = "eth1"\naccess_log_file = 7', 16,
     ('server.access_log_file is 7; it must be the path of a file, such as '
     '"/var/log/ipos/access.log"')),
    ("Service.access_log", "port = 80", "port = 80\naccess_log = 1.5", 21,
     ("service[1].access_log is 1.5; it must be a share of the decisions from 0 to 1, such as "
     "0.01")),
    ("Service.session", "port = 80", "port = 80\nsession = true", 21,
     "service[1].session is true; it must be a table"),
    ("Session.kind", "port = 80", 'port = 80\nsession = { kind = "magic" }', 21,
     'service[1].session.kind is "magic"; it must be "insert", "learn", "redirect" or "source"'),
    ("Session.cookie", "port = 80",
     'port = 80\nsession = { kind = "insert", cookie = "a b" }', 21,
     'service[1].session.cookie is "a b"; it must be the name of a cookie, such as "IPOS"'),
    ("Session.expire_s", "port = 80",
     'port = 80\nsession = { kind = "learn", expire_s = 5 }', 21,
     "service[1].session.expire_s is 5; it must be 60 to 2592000 seconds"),
    ("Session.path", "port = 80",
     'port = 80\nsession = { kind = "insert", path = "/a;b" }', 21,
     'service[1].session.path is "/a;b"; it must be a path, such as "/"'),
    ("Session.domain", "port = 80",
     'port = 80\nsession = { kind = "insert", domain = ".org" }', 21,
     'service[1].session.domain is ".org"; it must be a domain, such as "example.org"'),
    ("Session.max_age_s", "port = 80",
     'port = 80\nsession = { kind = "insert", max_age_s = 0 }', 21,
     "service[1].session.max_age_s is 0; it must be 1 to 34560000 seconds"),
    ("Session.http_only", "port = 80",
     'port = 80\nsession = { kind = "insert", http_only = 1 }', 21,
     "service[1].session.http_only is 1; it must be true or false"),
    ("Session.secure", "port = 80",
     'port = 80\nsession = { kind = "insert", secure = "no" }', 21,
     'service[1].session.secure is "no"; it must be true or false'),
    ("Session.name", "port = 80",
     'port = 80\nsession = { kind = "redirect", name = "www.example.org" }', 21,
     ('service[1].session.name is "www.example.org"; it must be a host name of at most 72 '
      'characters with {server} in it, such as "{server}.example.org"')),
    ("Session.scheme", "port = 80",
     'port = 80\nsession = { kind = "redirect", name = "{server}.org", scheme = "ftp" }', 21,
     'service[1].session.scheme is "ftp"; it must be "http" or "https"'),
    ("Session.port", "port = 80",
     'port = 80\nsession = { kind = "redirect", name = "{server}.org", port = 0 }', 21,
     "service[1].session.port is 0; it must be 1 to 65535"),
    ("Session.same_site", "port = 80",
     'port = 80\nsession = { kind = "insert", same_site = "Lax" }', 21,
     'service[1].session.same_site is "Lax"; it must be "strict", "lax" or "none"'),
    ("Service.check", '{ http = "/health", interval_ms = 500, rise = 2, fall = 3 }', "true", 22,
     "service[1].check is true; it must be a table"),
    ("Check.http", '"/health"', '"health"', 22,
     'service[1].check.http is "health"; it must be a path, such as "/health"'),
    ("Check.interval_ms", "interval_ms = 500", "interval_ms = 5", 22,
     "service[1].check.interval_ms is 5; it must be 50 to 600000 milliseconds"),
    ("Check.rise", "rise = 2", "rise = 0", 22,
     f"service[1].check.rise is 0; it must be {CHECKS}"),
    ("Check.fall", "fall = 3", "fall = 101", 22,
     f"service[1].check.fall is 101; it must be {CHECKS}"),
    ("Pool.name", '"all"\nservers', "3\nservers", 30,
     f'pool[1].name is 3; it must be {NAME} "images"'),
    ("Pool.servers", "{ s1 = 1, s2 = 3 }", "{ s1 = -1 }", 31,
     f"pool[1].servers is {{ s1 = -1 }}; it must be {WEIGHTS}"),
    ("Pool.policy", "{ s1 = 1, s2 = 3 }", '{ s1 = 1, s2 = 3 }\npolicy = "best"', 32,
     f'pool[1].policy is "best"; it must be {POLICY}'),
    ("Route.service", 'service = "web"', "service = 1", 34,
     f'route[1].service is 1; it must be {NAME} "web"'),
    ("Route.pool", 'pool = "all"', "pool = []", 35,
     f'route[1].pool is []; it must be {NAME} "images"'),
    ("Route.servers", 'pool = "all"', "servers = []", 35,
     'route[1].servers is []; it must be a list of servers\' names, such as ["s1", "s2"]'),
    ("Route.host", 'pool = "all"', 'pool = "all"\nhost = "a b"', 36,
     ('route[1].host is "a b"; it must be a host name, such as "www.example.org" or '
     '"*.example.org"')),
    ("Route.path", 'pool = "all"', 'pool = "all"\npath = "img"', 36,
     ('route[1].path is "img"; it must be a path prefix such as "/img/", or an exact path such '
     'as "=/img"')),
    ("Config.farm", "[farm]", "[firm]", 1, 'the file has no key "firm"; did you mean "farm"?'),
    ("Config.server", "[server]", "[sever]", 12,
     'the file has no key "sever"; did you mean "server"?'),
    ("Config.service", '[[service]]\nname = "mail"', '[[servce]]\nname = "mail"', 24,
     'the file has no key "servce"; did you mean "service"?'),
    ("Config.pool", "[[pool]]", "[[pools]]", 29,
     'the file has no key "pools"; did you mean "pool"?'),
    ("Config.route", "[[route]]", "[[root]]", 33,
     'the file has no key "root"; did you mean "route"?'),
]  # fmt: skip

OTHERS = [
    ("unknown key", "idle_s = 3600", "idle = 3600", 8,
     '[farm] has no key "idle"; did you mean "idle_s"?'),
    ("unknown key far from any", 'front = "eth0"', 'front = "eth0"\ncolour = 1', 15,
     ('[server] has no key "colour"; its keys are name, front, back, addresses, front_vlan, '
     "back_vlan, max_connections, "
     "access_log_file")),
    ("missing key", 'name = "web"\nport = 80', 'name = "web"', 18,
     f'[[service]] has no "port"; it must be {PORT}'),
    ("a table that should be many", '[[pool]]\nname = "all"', '[pool]\nname = "all"', 29,
     'pool is { name = "all", servers = { s1 = 1, s2 = 3 } }; it must be written as [[pool]]'),
    ("no members", 'members = ["10.77.0.1", "10.77.0.2"]\n', "", 1,
     "[farm] names no members; list their back addresses in members, or set discover = true"),
    ("member twice", '"10.77.0.2"]', '"10.77.0.1"]', 4,
     "farm.members names 10.77.0.1 again as number 2; name each member once"),
    ("network twice", "idle_s = 3600", 'deny = ["192.0.2.7", "192.0.2.7/32"]', 8,
     "farm.deny names 192.0.2.7/32 twice; name each network once"),
    ("network with members", "idle_s = 3600", 'deny = ["10.0.0.0/8"]', 8,
     ("farm.deny has 10.0.0.0/8, and the member 10.77.0.1 is in it; where front and back are one "
      "interface, its servers would not hear each other")),
    ("address twice", '["203.0.113.1"]', '["203.0.113.1", "203.0.113.1"]', 16,
     "server.addresses names 203.0.113.1 twice; name each address once"),
    ("service address that is a back address", '["203.0.113.1"]', '["10.77.0.2"]', 16,
     ("server.addresses has 10.77.0.2, which farm.members has as a back address; clients connect "
     "to service addresses, servers talk through back addresses")),
    ("authenticate off on one interface",
     'authenticate = true', 'authenticate = false', 5,
     ('farm.authenticate is false while front and back are both "eth0", where anybody could send '
     "frames; it must be true")),
    ("reserved ethertype", "0x0007", "0x0800", 6,
     "farm.ethertype is 0x0800, which is IPv4; it must be one of its own, such as 0x88B5"),
    ("service name twice", '"mail"', '"web"', 25,
     'a second service is called "web"; give each its own name'),
    ("port twice", "port = 25", "port = 80", 26,
     'service "mail" has tcp port 80, and so has "web"; give each service its own port'),
    ("pool twice", "[[route]]",
     '[[pool]]\nname = "all"\nservers = { s1 = 1 }\n[[route]]', 34,
     'a second pool is called "all"; give each its own name'),
    ("pool without weight", "{ s1 = 1, s2 = 3 }", "{ s1 = 0 }", 31,
     'pool "all" gives every server weight 0; at least one must have more'),
    ("route to no pool", 'pool = "all"', 'pool = "al"', 35,
     'no pool is called "al"; there is all'),
    ("route of no service", 'service = "web"', 'service = "ftp"', 34,
     'no service is called "ftp"; there is web, mail'),
    ("udp", "port = 25", 'port = 25\nprotocol = "udp"', 27,
     'service "mail" has protocol "udp"; only "tcp" is served'),
    ("decide at requests", "port = 25", 'port = 25\ndecide = "request"', 27,
     ('service "mail" has decide = "request" and select = "connection"; who chooses before any '
     "request cannot choose at each, so one of them must go")),
    ("redirect without names", "port = 80", 'port = 80\nsession = { kind = "redirect" }', 21,
     ('service "web" has a session by redirect and no names to send clients to; give the servers\' '
      'own in session.name, such as name = "{server}.example.org"')),
    ("names without redirect", "port = 80",
     'port = 80\nsession = { kind = "source", name = "{server}.org" }', 21,
     ('service "web" has session.name, which is where kind = "redirect" sends clients, and kind = '
      '"source"; leave it out')),
    ("a scheme without redirect", "port = 80",
     'port = 80\nsession = { kind = "insert", scheme = "https" }', 21,
     ('service "web" has session.scheme, which is where kind = "redirect" sends clients, and kind '
      '= "insert"; leave it out')),
    ("a cookie without a kind that has one", "port = 80",
     'port = 80\nsession = { kind = "source", cookie = "SID" }', 21,
     ('service "web" has session.cookie, which is the cookie that kind = "insert" or "learn" goes '
      'by, and kind = "source"; leave it out')),
    ("a learned cookie's life for an inserted one", "port = 80",
     'port = 80\nsession = { kind = "insert", expire_s = 60 }', 21,
     ('service "web" has session.expire_s, which is how long kind = "learn" remembers a cookie, '
      'and kind = "insert"; leave it out')),
    ("learning without a name", "port = 80", 'port = 80\nsession = { kind = "learn" }', 21,
     ('service "web" has a session by learning and no cookie to learn; give the name of the '
      'application\'s own in session.cookie, such as cookie = "JSESSIONID"')),
    ("redirect on connection", "port = 25",
     'port = 25\nsession = { kind = "redirect", name = "{server}.org" }', 27,
     ('service "mail" has a session by redirect and select = "connection", which decides before '
      'any request comes; say select = "request", or kind = "source"')),
    ("session on connection", "port = 25", 'port = 25\nsession = { kind = "insert" }', 27,
     ('service "mail" has a session by cookie and select = "connection", which decides before '
     'any cookie comes; say select = "request", or kind = "source"')),
    ("attribute of another session", "port = 80",
     'port = 80\nsession = { kind = "learn", secure = true }', 21,
     ('service "web" has session.secure, which is an attribute of cookies that kind = "insert" '
     'makes, and kind = "learn"; leave it out')),
    ("same_site none", "port = 80",
     'port = 80\nsession = { kind = "insert", same_site = "none" }', 21,
     ('service "web" has session.same_site = "none" without secure = true; browsers throw such '
     "cookies away")),
    ("not TOML", "port = 80", "port = ", 20, "is not TOML: invalid value"),
]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    secret = tmp_path / "farm.key"
    secret.write_text("0123456789abcdef\n")
    secret.chmod(0o600)
    return tmp_path / "ipos.toml"


def mistakes(text: str, file: Path) -> list[tuple[int, str]]:
    with pytest.raises(ConfigError) as raised:
        parse(text, file)
    return [(mistake.line, mistake.text) for mistake in raised.value.mistakes]


def test_the_good_file_is_good(file: Path) -> None:
    config = parse(GOOD, file)
    assert config.service[0].listener == schema_module.Listener.parse("127.0.0.1:8080")
    assert str(config.service[1].listener) == "0.0.0.0:25"
    assert config.farm.limits.forward == 1_000_000


@pytest.mark.parametrize(
    ("before", "after", "line", "sentence"),
    [case[1:] for case in FIELDS + OTHERS],
    ids=[case[0] for case in FIELDS + OTHERS],
)
def test_a_wrong_value_is_named(
    file: Path, before: str, after: str, line: int, sentence: str
) -> None:
    assert before in GOOD
    text = GOOD.replace(before, after, 1)
    if "authenticate = false" in after:
        text = text.replace('back = "eth1"', 'back = "eth0"')
    assert (line, sentence) in mistakes(text, file)


def test_every_field_of_the_schema_is_here() -> None:
    wanted = {
        f"{name}.{field}"
        for name, kind in vars(schema_module).items()
        if isinstance(kind, type) and issubclass(kind, Struct)
        for field in kind.__struct_fields__
    }
    assert wanted == {case[0] for case in FIELDS}
    assert "Config.farm" in wanted
    assert Config.__struct_fields__


def test_all_mistakes_are_told_at_once_by_line(file: Path) -> None:
    text = GOOD.replace("port = 80", "port = 0").replace('"shop"', '"?"').replace("25", '"x"')
    assert [line for line, _ in mistakes(text, file)] == [2, 20, 26]
    with pytest.raises(ConfigError) as raised:
        parse(text, file)
    assert str(raised.value).splitlines()[0].startswith(f"{file}:2: farm.name is")


def test_a_file_without_tables_names_both(file: Path) -> None:
    assert mistakes("", file) == [
        (1, "the file has no [farm] table; add one"),
        (1, "the file has no [server] table; add one"),
    ]


def test_secrets_are_looked_at(file: Path) -> None:
    secret = file.parent / "farm.key"
    secret.chmod(0o640)
    assert mistakes(GOOD, file) == [
        (3, f"farm.secret_file {secret} is open to others than its owner; `chmod 600 {secret}`")
    ]
    secret.chmod(0o600)
    secret.write_text("short\n")
    assert mistakes(GOOD, file) == [
        (3, f"farm.secret_file {secret} holds 5 bytes; it must hold at least 16")
    ]
    secret.unlink()
    assert mistakes(GOOD, file) == [
        (
            3,
            (
                f"farm.secret_file {secret} cannot be read: No such file or directory; make one "
                f"with `head -c 32 /dev/urandom | base64 > {secret}` and copy it to every server"
            ),
        )
    ]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ipos\.toml: cannot be read: No such file"):
        load(tmp_path / "ipos.toml")
    (tmp_path / "ipos.toml").write_bytes(b'[farm]\nname = "\xff"\n')
    with pytest.raises(ConfigError, match=r"ipos\.toml:2: is not UTF-8"):
        load(tmp_path / "ipos.toml")
