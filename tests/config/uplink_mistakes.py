# SPDX-License-Identifier: Apache-2.0
"""Wrong values in `[[uplink]]`, by one edit of the good configuration each."""

from tests.config.mistakes_table import NAME

_ADDRESSES = 'addresses = ["203.0.113.1"]'
_TO_ALL = 'service = "web"\npool = "all"'

UPLINK_FIELDS = [
    ("Farm.return_", "idle_s = 3600", 'return = "back"', 8,
     'farm.return is "back"; it must be "source" or "owner"'),
    ("Agent.uplink_command", _ADDRESSES, f"{_ADDRESSES}\n[agent]\nuplink_command = []", 18,
     ("agent.uplink_command is []; it must be a command and its arguments, such as "
     '["/etc/ipos/dns-out"]')),
    ("Uplink.name", _TO_ALL, f"{_TO_ALL}\n[[uplink]]\nname = 7", 37,
     f'uplink[1].name is 7; it must be {NAME} "isp1"'),
    ("Uplink.prefix", _TO_ALL, f'{_TO_ALL}\n[[uplink]]\nprefix = "203.0.113.1/24"', 37,
     ('uplink[1].prefix is "203.0.113.1/24"; it must be a network by its first address, such as '
     '"203.0.113.0/24"')),
    ("Uplink.gateway", _TO_ALL, f"{_TO_ALL}\n[[uplink]]\ngateway = 1", 37,
     'uplink[1].gateway is 1; it must be the address of a router, such as "203.0.113.254"'),
    ("Uplink.interface", _TO_ALL, f'{_TO_ALL}\n[[uplink]]\ninterface = "a b"', 37,
     ('uplink[1].interface is "a b"; it must be the name of a network interface of this server, '
     'such as "eth0"')),
    ("Config.uplink", "[[pool]]", "[uplink]\n[[pool]]", 29,
     "uplink is {  }; it must be written as [[uplink]]"),
]  # fmt: skip
