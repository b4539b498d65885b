# SPDX-License-Identifier: Apache-2.0
"""Every mistake that one edit makes in `start` of a service."""

COMMAND = 'a command and its arguments, such as ["/usr/sbin/shop", "--port=80"]'
_WEB = 'start = { command = ["/usr/sbin/shop"] }'
_AGAIN = '[[service]]\nname = "again"\nport = 81\napplication = "127.0.0.1:8080"'


def _start(said: str) -> str:
    return f"port = 80\nstart = {{ {said} }}"


FIELDS = [
    ("Service.start", "port = 80", "port = 80\nstart = true", 21,
     "service[1].start is true; it must be a table"),
    ("Start.command", "port = 80", _start('command = "shop"'), 21,
     f'service[1].start.command is "shop"; it must be {COMMAND}'),
    ("Start.unit", "port = 80", _start('unit = "shop"'), 21,
     ('service[1].start.unit is "shop"; it must be the name of a unit of systemd, such as '
      '"shop.service"')),
    ("Start.idle_stop_s", "port = 80", _start("idle_stop_s = -1"), 21,
     "service[1].start.idle_stop_s is -1; it must be 1 to 31536000 seconds, or 0 for never"),
    ("Start.start_timeout_s", "port = 80", _start("start_timeout_s = 60"), 21,
     "service[1].start.start_timeout_s is 60; it must be 1 to 30 seconds"),
    ("Start.load", "port = 80", _start("load = -1"), 21,
     "service[1].start.load is -1; it must be connections from 1 to 16777216, or 0 for any"),
    ("Start.memory", "port = 80", _start('memory = "much"'), 21,
     ('service[1].start.memory is "much"; it must be an amount of memory, such as "512M" or '
      '"2G"')),
]  # fmt: skip

OTHERS = [
    ("nothing to start", "port = 80", _start("idle_stop_s = 600"), 21,
     ('service "web" has start, which needs either a command or a unit: say one of them, as '
      'start = { command = ["/usr/sbin/shop"] }')),
    ("two things to start", "port = 80",
     _start('command = ["/usr/sbin/shop"], unit = "shop.service"'), 21,
     ('service "web" has start, which needs either a command or a unit: say one of them, as '
      'start = { command = ["/usr/sbin/shop"] }')),
    ("the memory of a unit", "port = 80", _start('unit = "shop.service", memory = "1G"'), 21,
     ('service "web" has start.memory, which limits a command; a unit has MemoryMax= of its own, '
      "so leave start.memory out")),
    ("start on connection", "port = 25", f"port = 25\n{_WEB}", 27,
     ('service "mail" has start and chooses before there is a request that could wait; start '
      'needs protocol = "tcp" and select = "request"')),
    ("start and a route", "port = 80", f"port = 80\n{_WEB}", 21,
     ('service "web" has start and a route; any server may start it, so one of them must go')),
    ("start in a container", '"127.0.0.1:8080"', f'"container:web:8080"\n{_WEB}', 22,
     ('service "web" has start and its application in container:web; the farm starts no '
      "container, so one of them must go")),
    ("one application for two", 'port = 25\nselect = "connection"',
     f"port = 8080\n{_WEB}\n{_AGAIN}\n{_WEB}", 32,
     ('service "again" has start, and so has service "mail" with the same port of its '
      "application; one application is started for one service")),
]  # fmt: skip
