# SPDX-License-Identifier: Apache-2.0
"""Every mistake that one edit makes in `[[spawn]]`."""

_TO_ALL = 'service = "web"\npool = "all"'
_FARM = "idle_s = 3600"


def _said(**changes: str) -> str:
    """A `[[spawn]]` behind the last table: its name is line 37, its ports are line 39."""
    keys = {"name": '"worker"', "command": '["/bin/w"]', "ports": '"20000-20015"', **changes}
    lines = "\n".join(f"{key} = {value}" for key, value in keys.items())
    return f"{_TO_ALL}\n[[spawn]]\n{lines}\n"


def _one(key: str, value: str) -> str:
    return f"{_TO_ALL}\n[[spawn]]\n{key} = {value}"


SPAWN_FIELDS = [
    ("Spawn.name", _TO_ALL, _one("name", '"a:b"'), 37,
     ('spawn[1].name is "a:b"; it must be 1 to 24 letters, digits, hyphens and underscores, such '
      'as "worker"')),
    ("Spawn.command", _TO_ALL, _one("command", "[]"), 37,
     ("spawn[1].command is []; it must be a command and its arguments, such as "
      '["/usr/bin/worker", "--port={port}"]')),
    ("Spawn.ports", _TO_ALL, _one("ports", "20000"), 37,
     ("spawn[1].ports is 20000; it must be the first and the last of some ports, such as "
      '"20000-20015"')),
    ("Spawn.args", _TO_ALL, _one("args", '["a b"]'), 37,
     ('spawn[1].args is ["a b"]; it must be a list of at most 32 patterns of 1 to 128 characters '
      'without spaces, such as ["--size=*", "--fast"]')),
    ("Spawn.args_max", _TO_ALL, _one("args_max", "17"), 37,
     "spawn[1].args_max is 17; it must be 0 to 16 arguments"),
    ("Spawn.idle_stop_s", _TO_ALL, _one("idle_stop_s", "-1"), 37,
     "spawn[1].idle_stop_s is -1; it must be 1 to 31536000 seconds, or 0 for never"),
    ("Spawn.start_timeout_s", _TO_ALL, _one("start_timeout_s", "60"), 37,
     "spawn[1].start_timeout_s is 60; it must be 1 to 30 seconds"),
    ("Spawn.memory", _TO_ALL, _one("memory", '"much"'), 37,
     'spawn[1].memory is "much"; it must be an amount of memory, such as "512M" or "2G"'),
    ("Config.spawn", "[[pool]]", "[spawn]\n[[pool]]", 29,
     "spawn is {  }; it must be written as [[spawn]]"),
]  # fmt: skip

_BACKWARDS = 'spawn "worker" has ports = "20015-20000"; say the first and the last of 1 to 65535'
OTHERS = [
    ("spawning where own programs are no clients", _TO_ALL, _said(), 36,
     ('[[spawn]] is for programs on the servers, and farm.own_programs is "refuse", which leads '
      'them to no other server; say "farm"')),
    ("ports the wrong way round", _TO_ALL, _said(ports='"20015-20000"'), 39, _BACKWARDS),
    ("ports that there are not", _TO_ALL, _said(ports='"65530-65536"'), 39,
     'spawn "worker" has ports = "65530-65536"; say the first and the last of 1 to 65535'),
    ("the port of a service", _TO_ALL, _said(ports='"20-30"'), 39,
     'spawn "worker" has port 25, and so has service "mail"; give each its own ports'),
    ("the port of an application", _TO_ALL, _said(ports='"8075-8085"'), 39,
     'spawn "worker" has port 8080, and so has service "web"; give each its own ports'),
    ("too many ports", _TO_ALL, _said(ports='"20000-20099"'), 39,
     ('spawn "worker" has 100 ports, and with the services there are 102; a farm has at most 64 '
      "of both")),
    ("three asterisks", _TO_ALL, _said(args='["*-*-*"]'), 40,
     'spawn "worker" has the pattern "*-*-*"; one has at most two asterisks'),
    ("two of one name", _TO_ALL, _said() + "[[spawn]]\nname = \"worker\"\ncommand = [\"/bin/x\"]\n"
     'ports = "30000-30001"', 41,
     'a second spawn is called "worker"; give each its own name'),
]  # fmt: skip
