# SPDX-License-Identifier: Apache-2.0
"""Finds out whether a firewall drops the packet that is to become a socket.

The kernel's firewall sees no handshake, because the iNIC did it: the first packet of a connection
it meets is the request, an ACK with data that conntrack calls *new* (*invalid* with
nf_conntrack_tcp_loose=0). "New and not SYN: drop" throws it away; a DNAT rule sends it elsewhere.

The packet is followed through the chains that it meets. A match is true, false, or unknown (the
client's address, a set, a module); a drop counts only when all its matches are certain, so nothing
is blamed on a guess, and an accept that may hold ends the chain. The rules are those of
`nft -j list ruleset` (libnftables-json(5)); iptables' own are translated into the same form.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, Final

_HOOKS: Final = ("ingress", "prerouting", "input")
_FAMILIES: Final = ("ip", "inet", "netdev")
_FLAGS: Final = {
    "fin": 1,
    "syn": 2,
    "rst": 4,
    "psh": 8,
    "ack": 16,
    "urg": 32,
    "ecn": 64,
    "cwr": 128,
}
_TABLES: Final = {"raw": ("prerouting",), "mangle": ("prerouting", "input"),
                  "nat": ("prerouting", "input", "output", "postrouting"),
                  "filter": ("input",)}  # fmt: skip
_NUMBERS: Final = {"tcp": 6, "udp": 17}
_JUMPS: Final = 16  # the kernel's own limit of nested chains


@dataclass(frozen=True, slots=True)
class Packet:
    """An adopted request as a firewall sees it, or another server's state (udp). state: None
    where it is not known.
    """

    interface: str
    port: int
    address: str | None = None
    state: str | None = "new"
    protocol: str = "tcp"
    flags: int = _FLAGS["ack"] | _FLAGS["psh"]


@dataclass(frozen=True, slots=True)
class Swallowed:
    """The rule that takes the packet away. `rule` names it so that it can be deleted."""

    rule: str
    verdict: str
    port: int
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its statements as libnftables-json has them, and its name for a human."""

    statements: Sequence[Mapping[str, Any]]
    name: str
    fix: str


@dataclass(slots=True)
class Chain:
    """A chain; `hook` is empty for one that is only jumped to."""

    name: str
    hook: str = ""
    policy: str = "accept"
    kind: str = "filter"
    rules: list[Rule] = field(default_factory=list)


Table = dict[str, Chain]


def parse_nft(ruleset: Mapping[str, Any]) -> list[Table]:
    """The tables of `nft -j list ruleset` that IPv4 packets meet."""
    tables: dict[tuple[str, str], Table] = {}
    for item in ruleset.get("nftables", ()):
        if "chain" in item:
            raw = item["chain"]
            where = raw["family"], raw["table"]
            hook = raw.get("hook", "")
            chain = Chain(raw["name"], hook, raw.get("policy", "accept"), raw.get("type", ""))
            tables.setdefault(where, {})[raw["name"]] = chain
    for item in ruleset.get("nftables", ()):
        if "rule" in item:
            raw = item["rule"]
            place = f"{raw['family']} {raw['table']} {raw['chain']} handle {raw['handle']}"
            chain = tables[raw["family"], raw["table"]][raw["chain"]]
            chain.rules.append(Rule(raw.get("expr", ()), place, f"nft delete rule {place}"))
    return [table for (family, _), table in tables.items() if family in _FAMILIES]


def parse_iptables(saved: str) -> list[Table]:
    """The tables of `iptables-save`."""
    tables: list[Table] = []
    hooks: tuple[str, ...] = ()
    name = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            name, hooks = line[1:], _TABLES.get(line[1:], ())
            tables.append({})
        elif line.startswith(":"):
            chain, policy = line[1:].split()[:2]
            hook = chain.lower() if chain.lower() in hooks else ""
            tables[-1][chain] = Chain(chain, hook, policy.lower() if hook else "accept", name)
        elif line.startswith("-A "):
            chain, _, rest = line[3:].partition(" ")
            rule = f"iptables -t {name} -A {chain} {rest}"
            fix = f"iptables -t {name} -D {chain} {rest}"
            tables[-1][chain].rules.append(Rule(_translate(rest), rule, fix))
    return tables


def swallowed_by(tables: Sequence[Table], packet: Packet) -> Swallowed | None:
    """The first rule, or policy, that takes the packet away; None when none surely does."""
    for hook in _HOOKS:
        for table in tables:
            for chain in table.values():
                untouched = chain.kind == "nat" and packet.state == "untracked"
                if chain.hook == hook and not untouched:
                    found = _follow(table, chain, packet)
                    if found:
                        return found
    return None


def _follow(table: Table, chain: Chain, packet: Packet) -> Swallowed | None:
    end = _walk(table, chain, packet, 0)
    if isinstance(end, Swallowed):
        return end
    if end is None and chain.policy == "drop":
        return Swallowed(
            f"the policy of chain {chain.name}",
            "drop",
            packet.port,
            f"let {packet.protocol} port {packet.port} in there",
        )
    return None


def _walk(table: Table, chain: Chain, packet: Packet, depth: int) -> Swallowed | str | None:
    """What ends a chain: a rule that swallows, "accept" (or perhaps), or None for its end."""
    for rule in chain.rules:
        sure, action, argument = _apply(rule, packet)
        if action is None:
            continue
        if action in ("drop", "reject"):
            if sure:
                return Swallowed(rule.name, action, packet.port, rule.fix)
        elif action in ("dnat", "redirect"):
            # Docker's and others' rules hold a match or two that cannot be decided here; the port
            # being ours is blame enough.
            return Swallowed(rule.name, action, packet.port, rule.fix)
        elif action == "return":
            if sure:
                return None
        elif action in ("jump", "goto"):
            target = table.get(argument)
            if target is None or depth >= _JUMPS:
                continue
            end = _walk(table, target, packet, depth + 1)
            if isinstance(end, Swallowed):
                if sure or end.verdict in ("dnat", "redirect"):
                    return end
            elif end is not None or (action == "goto" and sure):
                return end
        else:
            return "accept"
    return None


def _apply(rule: Rule, packet: Packet) -> tuple[bool, str | None, str]:
    """(whether it surely applies, what it does or None, the chain it jumps to)."""
    sure = True
    names_port = False
    for statement in rule.statements:
        (kind, body), *_ = statement.items()
        if kind == "match":
            holds = matches(body, packet)
            if holds is False:
                return True, None, ""
            sure = sure and holds is True
            names_port = names_port or (holds is True and _is_port(body.get("left")))
        elif kind == "vmap":
            action = _map_verdict(body, packet)
            if action is not None:
                return (sure, *_verdict(action))
        elif kind in ("accept", "drop", "return", "queue"):
            return sure, kind, ""
        elif kind == "reject":
            return sure, "reject", ""
        elif kind in ("jump", "goto"):
            return sure, kind, body["target"]
        elif kind in ("dnat", "redirect"):
            return sure, kind if names_port else None, ""
        elif kind in ("limit", "xt", "quota", "ct count", "unknown"):
            sure = False
    return sure, None, ""


def _verdict(action: Mapping[str, Any]) -> tuple[str, str]:
    (kind, body), *_ = action.items()
    return kind, body["target"] if kind in ("jump", "goto") else ""


def _map_verdict(body: Mapping[str, Any], packet: Packet) -> Mapping[str, Any] | None:
    data = body.get("data")
    if not isinstance(data, Mapping) or "set" not in data:
        return None
    for element, action in data["set"]:
        found: Mapping[str, Any] = action
        if _compare(_value(body.get("key"), packet), element) is True:
            return found
    return None


def _is_port(left: Any) -> bool:
    return isinstance(left, Mapping) and left.get("payload", {}).get("field") == "dport"


def matches(body: Mapping[str, Any], packet: Packet) -> bool | None:
    """Whether a match holds; None when that cannot be known here."""
    left, right, operator = body.get("left"), body.get("right"), body.get("op", "==")
    mask = None
    if isinstance(left, Mapping) and "&" in left:
        left, raw_mask = left["&"][0], left["&"][1:]
        mask = _flags(raw_mask)
    if isinstance(left, Mapping) and left.get("payload", {}).get("field") == "flags":
        if packet.protocol != "tcp":
            return False
        return _match_flags(packet.flags, mask, operator, right)
    holds = _compare(_value(left, packet), right)
    if holds is None or operator not in ("==", "in", "!="):
        return None
    return not holds if operator == "!=" else holds


def _match_flags(flags: int, mask: int | None, operator: str, right: Any) -> bool | None:
    wanted = _flags(right)
    if wanted is None:
        return None
    if operator == "in" and mask is None:  # `tcp flags syn`: any of these
        return bool(flags & wanted)
    seen = flags if mask is None else flags & mask
    if operator not in ("==", "!="):
        return None
    return (seen == wanted) == (operator == "==")


def _flags(value: Any) -> int | None:
    """TCP flags of any of the forms nft prints: a name, a number, a list, `{"|": [...]}`."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        return _FLAGS.get(value)
    if isinstance(value, Mapping):
        value = value.get("|", value.get("set"))
    if not isinstance(value, Sequence):
        return None
    total = 0
    for each in value:
        part = _flags(each)
        if part is None:
            return None
        total |= part
    return total


def _value(left: Any, packet: Packet) -> Any:
    """What of the packet a match's left side looks at; None when it is not known here."""
    if not isinstance(left, Mapping):
        return None
    payload = left.get("payload", {})
    known: dict[tuple[str, str], Any] = {
        ("meta", "iifname"): packet.interface,
        ("meta", "iif"): packet.interface,
        ("meta", "l4proto"): packet.protocol,
        ("meta", "nfproto"): "ipv4",
        ("meta", "protocol"): "ip",
        ("ct", "state"): packet.state,
        (packet.protocol, "dport"): packet.port,
        ("th", "dport"): packet.port,
        ("ip", "daddr"): packet.address,
        ("ip", "protocol"): packet.protocol,
    }
    if payload:
        protocol, name = payload.get("protocol"), payload.get("field")
        if protocol in {"tcp", "udp", "icmp", "sctp", "icmpv6", "ip6"} - {packet.protocol}:
            return "another protocol"
        return known.get((protocol, name))
    for kind in ("meta", "ct"):
        if kind in left:
            return known.get((kind, left[kind].get("key", "")))
    return None


def _compare(value: Any, right: Any) -> bool | None:
    if value is None:
        return None
    if isinstance(right, Mapping):
        if "set" in right:
            right = right["set"]
        elif "range" in right:
            low, high = right["range"]
            return low <= value <= high if isinstance(value, int) else None
        elif "prefix" in right:
            return _in_prefix(value, f"{right['prefix']['addr']}/{right['prefix']['len']}")
        else:
            return None
    if isinstance(right, Sequence) and not isinstance(right, str):
        answers = [_compare(value, each) for each in right]
        return True if True in answers else None if None in answers else False
    if isinstance(right, str) and right.startswith("@"):
        return None
    if isinstance(right, str) and right.endswith(("*", "+")):
        return str(value).startswith(right[:-1])
    if right == _NUMBERS.get(value):
        return True
    return bool(value == right)


def _in_prefix(value: Any, prefix: str) -> bool | None:
    try:
        return ip_address(value) in ip_network(prefix, strict=False)
    except ValueError:
        return None


def _translate(rule: str) -> list[dict[str, Any]]:
    """An iptables rule's options as libnftables-json statements; what is not known is `unknown`."""
    return list(_statements(iter(shlex.split(rule))))


def _statements(words: Iterator[str]) -> Iterator[dict[str, Any]]:
    negated = False
    for word in words:
        if word == "!":
            negated = True
            continue
        if word in ("-j", "-g"):
            yield _target(*words, goto=word == "-g")
            return
        if word in ("-m", "--comment"):
            next(words)
            continue
        left: dict[str, Any]
        right: Any
        if word == "-i":
            left, right = {"meta": {"key": "iifname"}}, next(words)
        elif word == "-p":
            left, right = {"meta": {"key": "l4proto"}}, next(words)
        elif word in ("--dport", "--dports"):
            left, right = {"payload": {"protocol": "th", "field": "dport"}}, _ports(next(words))
        elif word == "-d":
            address, _, length = next(words).partition("/")
            left = {"payload": {"protocol": "ip", "field": "daddr"}}
            right = {"prefix": {"addr": address, "len": length or "32"}}
        elif word in ("--ctstate", "--state"):
            left, right = {"ct": {"key": "state"}}, next(words).lower().split(",")
        elif word == "--tcp-flags":
            looked_at, wanted = (next(words).lower().split(",") for _ in range(2))
            flags = {"payload": {"protocol": "tcp", "field": "flags"}}
            left, right = {"&": [flags, looked_at]}, [] if wanted == ["none"] else wanted
        else:
            yield {"unknown": word}
            continue
        yield {"match": {"op": "!=" if negated else "==", "left": left, "right": right}}
        negated = False


def _ports(text: str) -> list[Any]:
    ports: list[Any] = []
    for part in text.split(","):
        low, colon, high = part.partition(":")
        ports.append({"range": [int(low or 0), int(high or 65535)]} if colon else int(low))
    return ports


def _target(name: str, *options: str, goto: bool) -> dict[str, Any]:
    if name == "NOTRACK" or "--notrack" in options:
        return {"notrack": None}
    if name in ("ACCEPT", "DROP", "RETURN", "REJECT", "DNAT", "REDIRECT"):
        return {name.lower(): None}
    if name.isupper() and name in ("LOG", "MARK", "CONNMARK", "NFLOG", "TRACE", "CT"):
        return {"counter": None}
    return {"goto" if goto else "jump": {"target": name}}
