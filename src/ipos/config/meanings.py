# SPDX-License-Identifier: Apache-2.0
"""What each key of the configuration means, in a sentence or two: docs/configuration.md prints it.

What a key must be is in the schema, beside its type.
"""

MEANINGS: dict[str, str] = {
    "Farm.name": "Names the farm. Servers believe only those of the same farm.",
    "Farm.secret_file": "The key of the farm: all servers have the same one. A second line that "
    'begins with "also " is believed, too, while keys are changed.',
    "Farm.members": "All servers by their back addresses, this one included.",
    "Farm.discover": "Servers with the farm's key on the back LAN are taken without being listed.",
    "Farm.authenticate": "Frames between servers carry tags. Without, whoever reaches back is "
    "believed.",
    "Farm.ethertype": "The type of the farm's own frames on back.",
    "Farm.header_timeout_ms": "So long a client may take for a request's head; then it gets 408.",
    "Farm.first_byte_timeout_s": "So long a client may be silent after connecting; then it is "
    "reset.",
    "Farm.waiting_timeout_s": "So long a pipelined request waits for its turn while the client "
    "takes nothing of the answers before it.",
    "Farm.idle_s": "So long a connection may be silent and have a row; then its rows end.",
    "Farm.deny": "Networks of clients whose packets are dropped before anything else.",
    "Farm.own_programs": "What happens when a program on a server connects to a service: it is "
    "refused where it could get a wrong server, or gets its own server's application, or is a "
    "client of the farm like any other.",
    "Farm.announce": "Who says where service addresses are: the farm, by ARP, or something else.",
    "Farm.locates_per_s": "So often a second a server may ask all others whose connection a packet "
    "is of.",
    "Farm.limits": "Sizes of the tables.",
    "Limits.forward": "Connections that this server has given to others and forwards.",
    "Limits.local": "Connections whose application is here.",
    "Limits.connect": "Connections that came here from other servers' addresses.",
    "Limits.temporary": "Clients that have shaken hands and sent nothing yet, and what has ended.",
    "Limits.holding": "Requests of which a part is here and no application yet.",
    "Server.name": "Names this server in pools, orders and messages.",
    "Server.front": "The interface towards clients.",
    "Server.back": "The interface of the LAN on which servers speak with each other. It may be "
    "front.",
    "Server.addresses": "The service addresses that this server lists. Clients may connect to any "
    "server's.",
    "Server.front_vlan": "The VLAN of clients on front.",
    "Server.back_vlan": "The VLAN of the farm on back.",
    "Server.max_connections": "So many connections this server takes; then others are chosen.",
    "Server.on_stop": 'What SIGTERM does: "stay" ends the agent alone, "leave" drains first.',
    "Server.leave_timeout_s": "After so long a server that leaves resets what it still has.",
    "Server.ready_port": "On this TCP port of the back address `GET /v1/ready` is answered.",
    "Server.access_log_file": "Where the access log goes; standard output without it.",
    "Agent.web": "Where the page, the metrics and the API answer by TCP. Without, nowhere.",
    "Agent.web_token_file": "The token that a client of `web` sends. Orders always need it.",
    "Agent.web_certificate": "The certificate of `web`, and those that prove it: then it is HTTPS.",
    "Agent.web_key": "The private key of that certificate.",
    "Service.name": "Names the service in routes and messages.",
    "Service.port": "The port that clients connect to.",
    "Service.protocol": "The transport.",
    "Service.select": "When a server is chosen: by the request, or as soon as a client connects, "
    "which protocols need whose server speaks first.",
    "Service.decide": "How often: once for a connection, or for each of its requests.",
    "Service.mode": "What clients speak. Where it is known, nothing else is taken for it.",
    "Service.policy": "How one of several servers is chosen.",
    "Service.slow_start_ms": "So long a server that comes back gets a growing part of its share.",
    "Service.application": "Where the application listens, if not on the service's port.",
    "Service.session": "How a client comes back to the server that it had.",
    "Service.check": "How a server finds out that its application is well.",
    "Service.access_log": "The share of decisions that the access log has lines of.",
    "Session.kind": "A cookie of the farm's own, one of the application's, a redirect to a "
    "server's own name, or the client's address.",
    "Session.cookie": "The cookie's name.",
    "Session.expire_s": "So long a learned cookie is remembered without being used.",
    "Session.path": "Attribute Path of an inserted cookie.",
    "Session.domain": "Attribute Domain of an inserted cookie.",
    "Session.max_age_s": "Attribute Max-Age of an inserted cookie.",
    "Session.http_only": "Attribute HttpOnly of an inserted cookie.",
    "Session.secure": "Attribute Secure of an inserted cookie.",
    "Session.same_site": "Attribute SameSite of an inserted cookie.",
    "Session.name": "The name of each server, for clients that are redirected there.",
    "Session.scheme": "How clients reach that name.",
    "Session.port": "And by which port, if it is not the scheme's own.",
    "Check.http": "The path that is asked for by HTTP. Without a path, connecting is enough.",
    "Check.https": "The same by HTTPS.",
    "Check.host": "The Host that is asked for.",
    "Check.status": "The statuses that are right.",
    "Check.verify": "The certificate must be one that this machine trusts.",
    "Check.interval_ms": "The pause between two checks.",
    "Check.rise": "So many in a row must be good before the application is well again.",
    "Check.fall": "So many in a row must fail before it is not well.",
    "Pool.name": "Names the pool in routes.",
    "Pool.servers": "Its servers and their weights; 0 gets nothing.",
    "Pool.policy": "How one of them is chosen, if not as the service says.",
    "Route.service": "The service whose requests it is about.",
    "Route.pool": "The pool that gets them.",
    "Route.servers": "Or the servers that get them alike.",
    "Route.host": "The host of the requests; a star takes the place of the first labels.",
    "Route.path": "The path of the requests: a prefix, or with = exactly this one.",
}
