# SPDX-License-Identifier: Apache-2.0
"""What each key of the configuration means, in a sentence or two: docs/configuration.md prints it.

What a key must be is in the schema, beside its type.
"""

MEANINGS: dict[str, str] = {
    "Farm.name": "Names the farm. Servers believe only those of the same farm.",
    "Farm.secret_file": "The key of the farm, the same on all servers. While keys are changed, a "
    'second line that begins with "also " names another key that is believed, too.',
    "Farm.members": "All servers by their back addresses, this one included.",
    "Farm.discover": "Servers on the back LAN that have the farm's key become members without "
    "being listed.",
    "Farm.authenticate": "Frames between servers carry tags. Without tags, servers believe "
    "anybody who can send on back.",
    "Farm.ethertype": "The type of the farm's own frames on back.",
    "Farm.header_timeout_ms": "How long a client may take to send a request's head; then it gets "
    "408.",
    "Farm.first_byte_timeout_s": "How long a client may be silent after it has connected; then it "
    "is reset.",
    "Farm.waiting_timeout_s": "How long a pipelined request waits for its turn while the client "
    "acknowledges nothing of the responses before it.",
    "Farm.idle_s": "How long a connection may be silent before its rows are removed.",
    "Farm.deny": "Networks of clients whose packets are dropped before anything else.",
    "Farm.own_programs": "What happens when a program on a server connects to a service: it is "
    "refused where it could get a wrong server, or gets its own server's application, or is a "
    "client of the farm like any other.",
    "Farm.announce": "What tells routers where service addresses are: the farm by ARP, its servers "
    "by BGP, or other software.",
    "Farm.return_": "By which uplink answers leave: by that of their source address, or by the "
    "owner's own.",
    "Farm.locates_per_s": "How often a server may ask all others which of them owns the "
    "connection of a packet.",
    "Farm.limits": "Sizes of the tables.",
    "Limits.forward": "Connections that this server has given to others and forwards.",
    "Limits.local": "Connections whose application is here.",
    "Limits.connect": "Connections that came here from other servers' addresses.",
    "Limits.temporary": "Clients that have made the handshake and sent nothing yet, and "
    "connections that have ended.",
    "Limits.holding": "Requests of which a part has come and that no application has yet.",
    "Server.name": "Names this server in pools, orders and messages.",
    "Server.front": "The interface towards clients.",
    "Server.back": "The interface of the LAN on which servers speak with each other. It may be "
    "front.",
    "Server.addresses": "The service addresses that this server lists, of IPv4 and IPv6. Clients "
    "may connect to any server's. Services of UDP are served at IPv4 addresses only.",
    "Server.front_vlan": "The VLAN of clients on front.",
    "Server.back_vlan": "The VLAN of the farm on back.",
    "Server.max_connections": "How many connections this server takes; then other servers are "
    "chosen.",
    "Server.bandwidth": "How fast the front link is in each direction, where it does not say so or "
    "the network behind it is slower. `least-loaded` gives less to a server whose link is full.",
    "Server.on_stop": 'What SIGTERM does: "stay" ends only the agent, "leave" drains the server '
    "first.",
    "Server.mptcp": 'Whether new sockets may use MPTCP: "off" sets `net.mptcp.enabled` to 0 until '
    '`ipos detach`, "leave" changes nothing. An application that listens with MPTCP gets '
    "connections only by their SYNs, and none where the request is needed.",
    "Server.notrack": "What is done where a firewall translates addresses, as on each host with "
    'Docker, and the kernel takes the sockets of adopted requests away: "auto" keeps connection '
    "tracking away from the services, by the table `ip ipos` of nftables, until `ipos detach`; "
    '"leave" changes nothing.',
    "Server.leave_timeout_s": "After this time a server that leaves resets the connections that "
    "it still has.",
    "Server.ready_port": "The TCP port of the back address on which `GET /v1/ready` is answered.",
    "Server.access_log_file": "Where the access log goes; standard output without it.",
    "Server.access_log_to": "Where the access log goes, if not to a file or standard output.",
    "Server.access_log_format": 'What a line is about and looks like: "decisions" has one in JSON '
    "for each decision; the others have one for each request, when it is answered.",
    "Agent.web": "Where the page, the metrics and the API are reached by TCP. Without this key, "
    "they are not.",
    "Agent.web_token_file": "The file with the token that a client of `web` sends. Orders always "
    "need it.",
    "Agent.uplink_command": "The command that is told which uplinks and addresses are out of "
    "service, to take them out of DNS.",
    "Agent.web_certificate": "The certificate of `web` and its chain. With it, `web` is HTTPS.",
    "Agent.web_key": "The private key of that certificate.",
    "Agent.announce_file": 'With `announce = "bgp"`, the file of static routes that BIRD includes. '
    "Without this key, it is `bird.conf` in the agent's run directory, `/run/ipos`.",
    "Agent.announce_command": "What is run when that file has changed, with the addresses in the "
    "environment variable `IPOS_ADDRESSES`. Without this key, it is `birdc configure`.",
    "Service.name": "Names the service in routes and messages.",
    "Service.port": "The port that clients connect to.",
    "Service.protocol": "The transport. A client's flow of UDP is given a server by its first "
    "datagram.",
    "Service.idle_s": "How long a flow of UDP may be silent before its client's next datagram "
    "begins another one; 60 without this key.",
    "Service.select": "When a server is chosen: by the request, or as soon as a client connects. "
    "Protocols in which the server speaks first need the second.",
    "Service.decide": "How often a server is chosen: once for a connection, or for each of its "
    "requests.",
    "Service.mode": 'What clients speak. All except "auto" refuse or ignore other protocols. '
    '"quic" is for UDP: a server is chosen by the server name in its first packets.',
    "Service.policy": "How one of several servers is chosen.",
    "Service.slow_start_ms": "For how long a server that comes back gets a growing part of its "
    "share.",
    "Service.application": "Where the application listens, if not on the service's port: an "
    'address and port, or a container as "container:NAME", "netns:PATH" or "cgroup:PATH", each '
    "with a port behind it if that is another one. Without this key, a container that listens on "
    "the port is found if nothing outside does, and no other container.",
    "Service.session": "How a client comes back to the server that it had.",
    "Service.connection_id": "Where the connection IDs of a service of QUIC say which server "
    "they are of, so that connections go on when their client's address changes.",
    "ConnectionId.server_id_at": "How many bytes of a connection ID are before the "
    "server's number.",
    "ConnectionId.server_id_bytes": "How many bytes the number has. A server's number is the last "
    "bytes of its back address; `ipos table number` shows it.",
    "Service.check": "How a server finds out that its application is healthy.",
    "Service.start": "How a server starts the application for a request that finds none.",
    "Service.access_log": "The share of decisions that get a line in the access log.",
    "Session.kind": "A cookie of the farm's own, one of the application's, a cookie with an "
    "identifier for each session, a redirect to a server's own name, or the client's address.",
    "Session.cookie": "The cookie's name.",
    "Session.expire_s": "How long a learned or identified session is remembered unused.",
    "Session.path": "Attribute Path of a cookie that the farm makes.",
    "Session.domain": "Attribute Domain of a cookie that the farm makes.",
    "Session.max_age_s": "Attribute Max-Age of a cookie that the farm makes.",
    "Session.http_only": "Attribute HttpOnly of a cookie that the farm makes.",
    "Session.secure": "Attribute Secure of a cookie that the farm makes.",
    "Session.same_site": "Attribute SameSite of a cookie that the farm makes.",
    "Session.name": "The name of each server, for clients that are redirected there.",
    "Session.scheme": "How clients reach that name.",
    "Session.port": "The port by which clients reach that name, if it is not the scheme's own.",
    "Check.http": "The path that is requested by HTTP. Without a path, a connection is enough.",
    "Check.https": "The path that is requested by HTTPS.",
    "Check.host": "The Host of that request.",
    "Check.status": "The statuses of a healthy application.",
    "Check.verify": "The certificate must be one that this machine trusts.",
    "Check.interval_ms": "The pause between two checks.",
    "Check.rise": "How many checks in a row must succeed before the application is healthy again.",
    "Check.fall": "How many checks in a row must fail before it is unhealthy.",
    "Start.command": "What is run, without a shell. It stays in the foreground, in a cgroup of its "
    "own.",
    "Start.unit": "A unit of systemd that is started in place of a command.",
    "Start.idle_stop_s": "After so many seconds without a request and without a connection the "
    "application is stopped.",
    "Start.start_timeout_s": "How long requests wait for it; then they get 503.",
    "Start.memory": "What it needs, until it is known what it took last time. Where cgroup v2 "
    "limits memory, the most that it may have.",
    "Start.load": "When every server that has the application has more connections of it than "
    "this, another one starts it, too. When one server fewer would do for `idle_stop_s`, one of "
    "them stops it.",
    "Spawn.name": "Names the program in `ipos spawn` and `ipos.spawn()`.",
    "Spawn.command": "What is run, without a shell, with the arguments of the call behind it. "
    "`{port}` is the port to listen on. It stays in the foreground, in a cgroup of its own.",
    "Spawn.ports": "The ports by which those that run are reached: one each, so there are at most "
    "so many.",
    "Spawn.args": "What arguments a call may have: each must fit one of these. An asterisk is any "
    "number of letters, digits and `._:=,@+-`.",
    "Spawn.args_max": "How many arguments a call may have.",
    "Spawn.idle_stop_s": "After so many seconds without a connection it is stopped.",
    "Spawn.start_timeout_s": "How long a server waits for it to listen.",
    "Spawn.memory": "What it needs. Where cgroup v2 limits memory, the most that it may have.",
    "Pool.name": "Names the pool in routes.",
    "Pool.servers": "The servers and their weights; a server with weight 0 gets nothing.",
    "Pool.policy": "How one of them is chosen, if not by the service's policy.",
    "Uplink.name": "Names the uplink in messages.",
    "Uplink.prefix": "The service addresses that clients reach by it.",
    "Uplink.gateway": "Its router, by which answers leave.",
    "Uplink.interface": "The front interface of this server on it. Where answers leave by their "
    "owner's router, an uplink without one is other servers'.",
    "Route.service": "The service whose requests the route is for.",
    "Route.pool": "The pool that gets them.",
    "Route.servers": "The servers that get them with equal weights, in place of a pool.",
    "Route.host": "The host of the requests; a star takes the place of the first labels.",
    "Route.alpn": "Protocols (ALPN, RFC 7301), one of which a client of TLS or QUIC must offer.",
    "Route.path": "The path of the requests: a prefix, or with = exactly this one.",
}
