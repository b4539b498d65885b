# SPDX-License-Identifier: Apache-2.0
"""What the help of each command shows of its use: lines that can be typed as they stand."""

from collections.abc import Sequence
from typing import Any

EXAMPLES: dict[str, tuple[str, ...]] = {
    "demo": ("ipos demo", "ipos demo --seconds 5 -o json"),
    "lab up": ("ipos lab up", "ipos lab up --name two --servers 2 --config services.toml"),
    "lab down": ("ipos lab down", "ipos lab down --name two"),
    "lab fault": ("ipos lab fault cut s2 front", "ipos lab fault whole s2 front"),
    "lab list": ("ipos lab list",),
    "lab exec": (
        "ipos lab exec s1 ipos status",
        "ipos lab exec client1 curl -i http://203.0.113.1",
    ),
    "setup": (
        "ipos setup",
        "ipos setup --farm shop --address 203.0.113.1 --service web:80 --new-farm --yes",
    ),
    "agent": ("ipos agent", "ipos agent --config /etc/ipos/ipos.toml"),
    "status": ("ipos status", "ipos status -o wide", "ipos status -o json"),
    "top": ("ipos top", "ipos top --every 5"),
    "server list": ("ipos server list",),
    "server set": ("ipos server set s2 drain", "ipos server set s2 ready --weight 50"),
    "drain": ("ipos drain s2 --wait", "ipos drain s2 --wait --deadline 30s"),
    "migrate": ("ipos migrate 198.51.100.7:50123 --to s2",),
    "rebalance": ("ipos rebalance", "ipos rebalance --max-moves 500"),
    "address list": ("ipos address list", "ipos address list -o json"),
    "session list": ("ipos session list", "ipos session list --server s2 -o json"),
    "session move": (
        "ipos session move 1f0c9a44d2e8b370 --to s3",
        "ipos session move --from s2 --to s3",
    ),
    "session revoke": ("ipos session revoke 1f0c9a44d2e8b370",),
    "table": ("ipos table forward", "ipos table listening -o json"),
    "counters": ("ipos counters", "ipos counters --all -o json"),
    "capture": ("ipos capture -w farm.pcap --seconds 10", "ipos capture -c 20 | tcpdump -nr -"),
    "route list": ("ipos route list",),
    "route test": ("ipos route test http://www.example.org/img/logo.png",),
    "explain": (
        "ipos explain http://203.0.113.1/img/logo.png",
        "ipos explain http://203.0.113.1/ --client 198.51.100.7 --cookie session=abc",
        "ipos explain https://203.0.113.1/ --alpn h2,http/1.1",
    ),
    "watch": ("ipos watch", "ipos watch -c 10 -o json"),
    "spawn": (
        "ipos spawn worker",
        "ipos spawn worker -- --size=3 --fast",
        "ipos spawn --list",
        "ipos spawn --stop s1.1764565200123",
    ),
    "config check": ("ipos config check", "ipos config check new.toml"),
    "config show": ("ipos config show --effective",),
    "reload": ("ipos reload",),
    "doctor": ("ipos doctor", "ipos doctor --farm", "ipos doctor --config new.toml -o json"),
    "bugreport": ("ipos bugreport", "ipos bugreport -w /tmp/s1.tar.gz"),
    "upgrade": ("ipos upgrade",),
    "detach": ("ipos server set s1 maint && ipos detach",),
}


def add_examples(path: str, command: Any) -> None:
    """Have the help of a command, or of each of a group, end with its examples.

    That of the group itself ends with the first example of each.
    """
    every = getattr(command, "commands", {})
    for name, each in every.items() or {"": command}.items():
        each.epilog = _epilog(EXAMPLES.get(f"{path} {name}".strip(), ()))
    if every:
        firsts = (EXAMPLES.get(f"{path} {name}", ())[:1] for name in every)
        command.epilog = _epilog([line for lines in firsts for line in lines])


def _epilog(lines: Sequence[str]) -> str | None:
    # Click prints a paragraph that begins with \b as it stands.
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines))) if lines else None
