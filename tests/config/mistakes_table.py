# SPDX-License-Identifier: Apache-2.0
"""A good configuration, and every mistake that one edit of it makes."""

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

_ADDRESSES = 'addresses = ["203.0.113.1"]'

NAME = "1 to 32 letters, digits, hyphens and underscores, such as"

INTERFACE = "the name of a network interface of this server, such as"

ENTRIES = "a number of table entries from 16 to 16777216"

PORT = "a port number from 1 to 65535"

VLAN = "a VLAN id from 1 to 4094, or 0 for none"

MEMBERS = 'a list of at most 1000 back addresses, as ["10.77.0.1", "10.77.0.2"]'

WEIGHTS = "1 to 1000 servers with weights from 0 to 65535, as { s2 = 1, s3 = 3 }"

DENY = (
    "a list of clients' networks by their first addresses, at most 16384, such as "
    '["198.51.100.0/24", "2001:db8:7::/48"]'
)

CHECKS = "a number of checks from 1 to 100"

SECRET = 'the path of a file with the secret, such as "/etc/ipos/farm.key"'

APPLICATION = 'where its application listens, such as "127.0.0.1:8080" or "container:web:8080"'

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
    ("Farm.own_programs", "authenticate = true", 'own_programs = "no"', 5,
     'farm.own_programs is "no"; it must be "refuse", "local" or "farm"'),
    ("Farm.authenticate", "= true", "= 1", 5, "farm.authenticate is 1; it must be true or false"),
    ("Farm.ethertype", "0x0007", "0x10000", 6,
     "farm.ethertype is 65536; it must be an Ethernet type from 1 to 0xFFFF, such as 0x88B5"),
    ("Farm.header_timeout_ms", "= 5000", "= 5", 7,
     "farm.header_timeout_ms is 5; it must be 100 to 600000 milliseconds"),
    ("Farm.idle_s", "= 3600", "= 0", 8, "farm.idle_s is 0; it must be 1 to 31536000 seconds"),
    ("Farm.first_byte_timeout_s", "idle_s = 3600", "first_byte_timeout_s = 0", 8,
     "farm.first_byte_timeout_s is 0; it must be 1 to 86400 seconds"),
    ("Farm.waiting_timeout_s", "idle_s = 3600", "waiting_timeout_s = 0", 8,
     "farm.waiting_timeout_s is 0; it must be 1 to 86400 seconds"),
    ("Farm.deny", "idle_s = 3600", 'deny = ["198.51.100.1/24"]', 8,
     f'farm.deny is ["198.51.100.1/24"]; it must be {DENY}'),
    ("Farm.announce", "idle_s", "announce", 8,
     'farm.announce is 3600; it must be "arp", "bgp" or "none"'),
    ("Farm.locates_per_s", "idle_s = 3600", "locates_per_s = 65536", 8,
     "farm.locates_per_s is 65536; it must be 1 to 65535 frames a second, or 0 for none"),
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
    ("Server.front", '"eth0"', '"/"', 14, f'server.front is "/"; it must be {INTERFACE} "eth0"'),
    ("Server.back", '"eth1"', '"a-name-that-is-too-long"', 15,
     f'server.back is "a-name-that-is-too-long"; it must be {INTERFACE} "eth1"'),
    ("Server.addresses", '["203.0.113.1"]', '"203.0.113.1"', 16,
     ('server.addresses is "203.0.113.1"; it must be a list of 1 to 255 service addresses, such as '
     '["203.0.113.1", "2001:db8::1"]')),
    ("Server.front_vlan", 'back = "eth1"', 'back = "eth1"\nfront_vlan = 5000', 16,
     f"server.front_vlan is 5000; it must be {VLAN}"),
    ("Server.back_vlan", 'back = "eth1"', 'back = "eth1"\nback_vlan = "7"', 16,
     f'server.back_vlan is "7"; it must be {VLAN}'),
    ("Server.max_connections", 'back = "eth1"', 'back = "eth1"\nmax_connections = "few"', 16,
     ('server.max_connections is "few"; it must be connections from 1 to 16777216, or 0 for no '
     'limit')),
    ("Server.bandwidth", 'back = "eth1"', 'back = "eth1"\nbandwidth = "1G"', 16,
     'server.bandwidth is "1G"; it must be bits per second, or 0 for the link\'s own'),
    ("Server.on_stop", 'back = "eth1"', 'back = "eth1"\non_stop = "go"', 16,
     'server.on_stop is "go"; it must be "stay" or "leave"'),
    ("Server.mptcp", 'back = "eth1"', 'back = "eth1"\nmptcp = "on"', 16,
     'server.mptcp is "on"; it must be "off" or "leave"'),
    ("Server.notrack", 'back = "eth1"', 'back = "eth1"\nnotrack = "on"', 16,
     'server.notrack is "on"; it must be "auto" or "leave"'),
    ("Server.leave_timeout_s", 'back = "eth1"', 'back = "eth1"\nleave_timeout_s = 0', 16,
     "server.leave_timeout_s is 0; it must be seconds from 1 to 86400"),
    ("Server.ready_port", 'back = "eth1"', 'back = "eth1"\nready_port = -1', 16,
     "server.ready_port is -1; it must be a port from 1 to 65535, or 0 for none"),
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
    ("Service.mode", "port = 80", 'port = 80\nmode = "smtp"', 21,
     ('service[1].mode is "smtp"; it must be "auto", "http", "tls", "tcp" or "quic"')),
    ("Service.connection_id", "port = 80", "port = 80\nconnection_id = 2", 21,
     "service[1].connection_id is 2; it must be a table"),
    ("ConnectionId.server_id_at", "port = 80", "port = 80\nconnection_id = { server_id_at = 17 }",
     21, "service[1].connection_id.server_id_at is 17; it must be bytes from 0 to 16"),
    ("ConnectionId.server_id_bytes", "port = 80",
     "port = 80\nconnection_id = { server_id_bytes = 0 }", 21,
     "service[1].connection_id.server_id_bytes is 0; it must be 1 to 4 bytes"),
    ("Service.policy", "port = 80", 'port = 80\npolicy = "best"', 21,
     f'service[1].policy is "best"; it must be {POLICY}'),
    ("Service.slow_start_ms", "port = 80", "port = 80\nslow_start_ms = -1", 21,
     "service[1].slow_start_ms is -1; it must be 0 to 3600000 milliseconds"),
    ("Service.idle_s", "port = 80", "port = 80\nidle_s = 0", 21,
     "service[1].idle_s is 0; it must be seconds from 1 to 65535"),
    ("Service.application", '"127.0.0.1:8080"', '"127.0.0.1"', 21,
     f'service[1].application is "127.0.0.1"; it must be {APPLICATION}'),
    ("Service.application", '"127.0.0.1:8080"', '"container:web:99999"', 21,
     f'service[1].application is "container:web:99999"; it must be {APPLICATION}'),
    ("Server.access_log_file", 'back = "eth1"', 'back = "eth1"\naccess_log_file = 7', 16,
     ('server.access_log_file is 7; it must be the path of a file, such as '
     '"/var/log/ipos/access.log"')),
    ("Server.access_log_to", 'back = "eth1"', 'back = "eth1"\naccess_log_to = "mail"', 16,
     'server.access_log_to is "mail"; it must be "file", "syslog" or "journald"'),
    ("Server.access_log_format", 'back = "eth1"', 'back = "eth1"\naccess_log_format = "clf"', 16,
     ('server.access_log_format is "clf"; it must be "decisions", "json", "combined" or '
      '"haproxy"')),
    ("Service.access_log", "port = 80", "port = 80\naccess_log = 1.5", 21,
     ("service[1].access_log is 1.5; it must be a share of the decisions from 0 to 1, such as "
     "0.01")),
    ("Service.session", "port = 80", "port = 80\nsession = true", 21,
     "service[1].session is true; it must be a table"),
    ("Session.kind", "port = 80", 'port = 80\nsession = { kind = "magic" }', 21,
     ('service[1].session.kind is "magic"; it must be "insert", "learn", "identify", "redirect" '
      'or "source"')),
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
    ("Check.https", 'http = "/health"', 'https = "a b"', 22,
     'service[1].check.https is "a b"; it must be a path, such as "/health"'),
    ("Check.host", "rise = 2", 'host = "a b"', 22,
     'service[1].check.host is "a b"; it must be a host name, such as "www.example.org"'),
    ("Check.status", "rise = 2", 'status = "2xx"', 22,
     ('service[1].check.status is "2xx"; it must be a status or a range of them, such as "200" or '
     '"200-399"')),
    ("Check.verify", "rise = 2", "verify = 1", 22,
     "service[1].check.verify is 1; it must be true or false"),
    ("Check.interval_ms", "interval_ms = 500", "interval_ms = 5", 22,
     "service[1].check.interval_ms is 5; it must be 50 to 600000 milliseconds"),
    ("Check.rise", "rise = 2", "rise = 0", 22, f"service[1].check.rise is 0; it must be {CHECKS}"),
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
     'route[1].servers is []; it must be a list of 1 to 1000 names, such as ["s1", "s2"]'),
    ("Route.host", 'pool = "all"', 'pool = "all"\nhost = "a b"', 36,
     ('route[1].host is "a b"; it must be a host name, such as "www.example.org" or '
     '"*.example.org"')),
    ("Route.alpn", 'pool = "all"', 'pool = "all"\nalpn = "h2"', 36,
     ('route[1].alpn is "h2"; it must be a list of 1 to 16 names of protocols, such as ["h2", '
      '"http/1.1"]')),
    ("Route.path", 'pool = "all"', 'pool = "all"\npath = "img"', 36,
     ('route[1].path is "img"; it must be a path prefix such as "/img/", or an exact path such '
     'as "=/img"')),
    ("Agent.web", _ADDRESSES, f"{_ADDRESSES}\n[agent]\nweb = 7", 18,
     'agent.web is 7; it must be an address and a port, such as "127.0.0.1:9100"'),
    ("Agent.web_token_file", _ADDRESSES, f"{_ADDRESSES}\n[agent]\nweb_token_file = 7", 18,
     'agent.web_token_file is 7; it must be the path of a file, such as "/etc/ipos/web.token"'),
    ("Agent.web_certificate", _ADDRESSES, f"{_ADDRESSES}\n[agent]\nweb_certificate = 7", 18,
     'agent.web_certificate is 7; it must be the path of a file, such as "/etc/ipos/web.crt"'),
    ("Agent.web_key", _ADDRESSES, f"{_ADDRESSES}\n[agent]\nweb_key = 7", 18,
     'agent.web_key is 7; it must be the path of a file, such as "/etc/ipos/web.pem"'),
    ("Agent.announce_file", _ADDRESSES, f"{_ADDRESSES}\n[agent]\nannounce_file = 7", 18,
     'agent.announce_file is 7; it must be the path of a file, such as "/run/ipos/bird.conf"'),
    ("Agent.announce_command", _ADDRESSES, f"{_ADDRESSES}\n[agent]\nannounce_command = 7", 18,
     ('agent.announce_command is 7; it must be a command and its arguments, such as '
     '["birdc", "configure"]')),
    ("Config.agent", _ADDRESSES, f"{_ADDRESSES}\n[agnt]", 17,
     'the file has no key "agnt"; did you mean "agent"?'),
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

ROUTE = '[[route]]\nservice = "web"\npool = "all"\n'

BY_HOST = f'fall = 3 }}\nmode = "tcp"\n{ROUTE}host = "a.example"\n'
BY_PATH = f'fall = 3 }}\nmode = "tls"\n{ROUTE}path = "/a"\n'

OTHERS = [
    ("unknown key", "idle_s = 3600", "idle = 3600", 8,
     '[farm] has no key "idle"; did you mean "idle_s"?'),
    ("unknown key far from any", 'front = "eth0"', 'front = "eth0"\ncolour = 1', 15,
     ('[server] has no key "colour"; its keys are name, front, back, addresses, front_vlan, '
     "back_vlan, max_connections, bandwidth, on_stop, leave_timeout_s, ready_port, mptcp, notrack, "
     "access_log_file, access_log_to, access_log_format")),
    ("a log's file and another target", 'back = "eth1"',
     'back = "eth1"\naccess_log_file = "/var/log/a"\naccess_log_to = "syslog"', 16,
     ('server.access_log_file names a file, and access_log_to = "syslog" writes to none: one of '
      "the two must go")),
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
    ("route to no pool", 'pool = "all"', 'pool = "al"', 35, 'no pool is called "al"; there is all'),
    ("route of no service", 'service = "web"', 'service = "ftp"', 34,
     'no service is called "ftp"; there is web, mail'),
    ("udp, and before any request", "port = 25",
     'port = 25\nprotocol = "udp"', 28,
     'service "mail" has protocol = "udp" and select, which needs a connection; leave it out'),
    ("udp, and a check", "port = 25", 'port = 25\nprotocol = "udp"\ncheck = {}', 28,
     'service "mail" has protocol = "udp" and check, which needs a connection; leave it out'),
    ("udp, and an application that cannot answer", "port = 25",
     'port = 25\nprotocol = "udp"\napplication = "127.0.0.1:25"', 28,
     ('service "mail" has protocol = "udp" and an application on 127.0.0.1, from where no answer '
      "can leave; let it listen on 0.0.0.0 or on an address of the server")),
    ("udp, and an application in a container", "port = 25",
     'port = 25\nprotocol = "udp"\napplication = "container:mail"', 28,
     ('service "mail" has protocol = "udp" and an application in a container, where only '
      "connections of TCP can be given; let it listen on the server itself")),
    ("quic without udp", "port = 80", 'port = 80\nmode = "quic"', 21,
     ('service "web" has mode = "quic" and protocol = "tcp", where nobody speaks QUIC; say '
      'protocol = "udp"')),
    ("a path in quic", 'pool = "all"', ('pool = "all"\npath = "/img/"\n[[service]]\nname = "h3"\n'
     'port = 443\nprotocol = "udp"\nmode = "quic"\n[[route]]\nservice = "h3"\npool = "all"\n'
     'path = "/x"'), 45,
     ('service "h3" has mode = "quic", which reads a ClientHello and no more; its route may have '
      "a host and alpn, and no path")),
    ("connection IDs without quic", "port = 80", "port = 80\nconnection_id = {}", 21,
     ('service "web" has connection_id, which only QUIC has; say mode = "quic", or leave it out')),
    ("idle flows of tcp", "port = 25", "port = 25\nidle_s = 9", 27,
     ('service "mail" has idle_s, which is for protocol = "udp"; the time of connections is '
      "farm.idle_s")),
    ("decide at requests", "port = 25", 'port = 25\ndecide = "request"', 27,
     ('service "mail" has decide = "request" and select = "connection"; who chooses before any '
     "request cannot choose at each, so one of them must go")),
    ("what is not read, and at requests", "port = 80",
     'port = 80\nmode = "tcp"\ndecide = "request"', 21,
     ('service "web" has mode = "tcp", which reads nothing, and decide = "request"; say mode = '
          '"http", or leave one of them out')),
    ("what is not read, and by cookie", "port = 80",
     'port = 80\nmode = "tcp"\nsession = { kind = "insert" }', 21,
     ('service "web" has mode = "tcp", which reads nothing, and a session of kind = "insert"; say '
      'mode = "http", or leave one of them out')),
    ("what is not read, and by host", "fall = 3 }", BY_HOST, 23,
     ('service "web" has mode = "tcp", which reads nothing, and route 1 with host = "a.example"; '
      'say mode = "http", or leave one of them out')),
    ("TLS by path", "fall = 3 }", BY_PATH, 23,
     ('service "web" has mode = "tls", which reads a ClientHello and no more, and route 1 with '
      'path = "/a"; say mode = "http", or leave one of them out')),
    ("what is read on connection", "port = 25", 'port = 25\nmode = "http"', 27,
     ('service "mail" has mode = "http" and select = "connection", which chooses before anything '
      'is said; leave mode out')),
    ("a file of announcements for nobody", _ADDRESSES,
     f'{_ADDRESSES}\n[agent]\nannounce_file = "/run/ipos/bird.conf"', 18,
     ('agent.announce_file is for farm.announce = "bgp", and that is "arp"; leave it out, or say '
      '"bgp"')),
    ("not TOML", "port = 80", "port = ", 20, "is not TOML: invalid value"),
]  # fmt: skip
