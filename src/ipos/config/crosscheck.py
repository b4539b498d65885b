# SPDX-License-Identifier: Apache-2.0
"""Checks that need the whole file: names that must exist, and things that may be there only
once."""

import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from ipos.abi.layout import constant
from ipos.config import agent_section, locate
from ipos.config.errors import Mistake
from ipos.config.family_rules import check_families
from ipos.config.health_check import Check
from ipos.config.modes import check_flows, check_modes
from ipos.config.routes import check_routes
from ipos.config.schema import Config, Service, Session
from ipos.config.spawn_rules import check_spawns
from ipos.config.start_rules import check_starts
from ipos.config.uplink import check_uplinks
from ipos.files import FileError, read_bounded
from ipos.handshake.keys import SECRET_MIN, secrets_in

SECRET_MAX = 4096
SERVICES_MAX = constant("IPOS_SERVICES_MAX")
TLS_PORTS = frozenset((443, 465, 563, 636, 853, 989, 990, 992, 993, 994, 995, 5061, 8443, 8883))
"""Where nobody expects anything but TLS (IANA's registry of services, and habit)."""
MEMBERS_MAX = constant("IPOS_MEMBERS_MAX")
"""Servers of a farm: as many as a pool has room for, and one pool may have all."""
_RESERVED_ETHERTYPES = {
    0x0800: "IPv4", 0x0806: "ARP", 0x86DD: "IPv6", 0x8100: "802.1Q", 0x88A8: "802.1ad",
}  # fmt: skip
T = TypeVar("T")
_Say = Callable[[locate.Path, str], None]


def crosscheck(config: Config, file: Path, places: dict[locate.Path, int]) -> list[Mistake]:
    """Every mistake that needs more than one field, or a look at the machine's files."""
    mistakes: list[Mistake] = []

    def say(path: locate.Path, text: str) -> None:
        mistakes.append(Mistake(locate.line_of(places, path), text))

    _farm(config, say)
    _secret(config, file, say)
    for key, text in agent_section.mistakes(config.agent, file.parent):
        say(("agent", key), text)
    if config.farm.announce != "bgp":
        for key, text in agent_section.unannounced(config.agent, config.farm.announce):
            say(("agent", key), text)
    _access_log(config, say)
    _services(config, say)
    _sessions(config, say)
    _checks(config, say)
    _pools(config, say)
    check_routes(config, places, say)
    check_modes(config, say)
    check_flows(config, say)
    check_starts(config, say)
    check_spawns(config, say)
    check_uplinks(config, say)
    check_families(config, say)
    _not_yet(config, say)
    return mistakes


def secret_path(config: Config, file: Path) -> Path:
    """The secret's file; a relative path starts where the configuration is."""
    return file.parent / config.farm.secret_file


def read_secret(path: Path) -> bytes:
    """What the secret's file holds: see `ipos.handshake.keys.key_ring`.

    FileError for a path that leads to no file, or to a long one.
    """
    return read_bounded(path, SECRET_MAX)


def _farm(config: Config, say: _Say) -> None:
    farm, server = config.farm, config.server
    if not farm.members and not farm.discover:
        say(
            ("farm",),
            "[farm] names no members; list their back addresses in members, or set discover = true",
        )
    if len(farm.members) > MEMBERS_MAX:
        say(
            ("farm", "members"),
            f"farm.members names {len(farm.members)} servers; a farm has at most {MEMBERS_MAX}",
        )
    for position, address in _repeated(farm.members):
        say(
            ("farm", "members"),
            f"farm.members names {address} again as number {position + 1}; name each member once",
        )
    for _, network in _repeated(farm.deny):
        say(("farm", "deny"), f"farm.deny names {network} twice; name each network once")
    for network in farm.deny:
        for address in farm.members:
            if address in network:
                say(
                    ("farm", "deny"),
                    f"farm.deny has {network}, and the member {address} is in it; where front and "
                    "back are one interface, its servers would not hear each other",
                )
                break
    for _, listed in _repeated(server.addresses):
        say(
            ("server", "addresses"),
            f"server.addresses names {listed} twice; name each address once",
        )
    for listed in server.addresses:
        if listed in farm.members:
            say(
                ("server", "addresses"),
                f"server.addresses has {listed}, which farm.members has as a back address; "
                "clients connect to service addresses, servers talk through back addresses",
            )
    if server.front == server.back and not farm.authenticate:
        say(
            ("farm", "authenticate"),
            f'farm.authenticate is false while front and back are both "{server.front}", where '
            "anybody could send frames; it must be true",
        )
    if farm.own_programs == "farm" and server.front_vlan:
        say(
            ("farm", "own_programs"),
            f'farm.own_programs is "farm" and server.front_vlan {server.front_vlan}; own programs '
            'are clients by an untagged front only, so say "refuse"',
        )
    if farm.ethertype in _RESERVED_ETHERTYPES:
        say(
            ("farm", "ethertype"),
            f"farm.ethertype is {farm.ethertype:#06x}, which is "
            f"{_RESERVED_ETHERTYPES[farm.ethertype]}; it must be one of its own, such as 0x88B5",
        )


def _secret(config: Config, file: Path, say: _Say) -> None:
    path = secret_path(config, file)
    where = ("farm", "secret_file")
    try:
        mode = path.stat().st_mode
        secrets = secrets_in(read_secret(path))
    except FileError as error:
        say(where, f"farm.secret_file {error}")
        return
    except OSError as error:
        say(
            where,
            f"farm.secret_file {path} cannot be read: {error.strerror}; "
            + (
                "only root should, so be root"
                if isinstance(error, PermissionError)
                else f"make one with `head -c 32 /dev/urandom | base64 > {path}` and copy it to "
                "every server"
            ),
        )
        return
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        say(
            where,
            f"farm.secret_file {path} is open to others than its owner; `chmod 600 {path}`",
        )
    for secret, what in zip(secrets, ("holds", 'holds behind "also"'), strict=True):
        if secret is not None and len(secret) < SECRET_MIN:
            say(
                where,
                f"farm.secret_file {path} {what} {len(secret)} bytes; "
                f"it must hold at least {SECRET_MIN}",
            )


def _access_log(config: Config, say: _Say) -> None:
    server = config.server
    if server.access_log_file is not None and server.access_log_to != "file":
        say(
            ("server", "access_log_file"),
            f'server.access_log_file names a file, and access_log_to = "{server.access_log_to}" '
            "writes to none: one of the two must go",
        )


def _services(config: Config, say: _Say) -> None:
    if len(config.service) > SERVICES_MAX:
        say(
            ("service", SERVICES_MAX),
            f"there are {len(config.service)} services; a farm has at most {SERVICES_MAX}",
        )
    for position, name in _repeated(service.name for service in config.service):
        say(
            ("service", position, "name"),
            f'a second service is called "{name}"; give each its own name',
        )
    listening = [(service.protocol, service.port) for service in config.service]
    for position, (protocol, port) in _repeated(listening):
        first = config.service[listening.index((protocol, port))].name
        say(
            ("service", position, "port"),
            f'service "{config.service[position].name}" has {protocol} port {port}, and so has '
            f'"{first}"; give each service its own port',
        )


_INSERTED = ("an attribute of cookies that", ("insert", "identify"), "makes")
_SENT = ("where", ("redirect",), "sends clients")
_SESSION_KEYS = {
    "cookie": ("the cookie that", ("insert", "learn", "identify"), "goes by"),
    "expire_s": ("how long", ("learn", "identify"), "remembers a cookie"),
    **dict.fromkeys(("path", "domain", "max_age_s", "http_only", "secure", "same_site"), _INSERTED),
    **dict.fromkeys(("name", "scheme", "port"), _SENT),
}
"""What a session's key is: whose, of which kinds, and what they do with it."""


def _sessions(config: Config, say: _Say) -> None:
    for position, service in enumerate(config.service):
        session = service.session
        if session is None:
            continue
        here = ("service", position, "session")
        if session.kind != "source" and service.select == "connection":
            by, what = ("redirect", "request") if session.kind == "redirect" else ("cookie",) * 2
            say(
                here,
                f'{_of(service.name)} a session by {by} and select = "connection", which decides '
                f"before any {what} comes; "
                'say select = "request", or kind = "source"',
            )
        _keys_of_session(service, here, session, say)
        if session.same_site == "none" and not session.secure:
            say(
                (*here, "same_site"),
                f'{_of(service.name)} session.same_site = "none" without secure = true; browsers '
                "throw such cookies away",
            )


def _keys_of_session(service: Service, here: locate.Path, session: Session, say: _Say) -> None:
    for entry in msgspec.structs.fields(session):
        if entry.name == "kind" or getattr(session, entry.name) == entry.default:
            continue
        what, kinds, does = _SESSION_KEYS[entry.name]
        if session.kind not in kinds:
            *most, last = [f'"{kind}"' for kind in kinds]
            whose = f"{', '.join(most)} or {last}" if most else last
            say(
                (*here, entry.name),
                f"{_of(service.name)} session.{entry.name}, which is {what} kind = {whose} {does}, "
                f'and kind = "{session.kind}"; leave it out',
            )
    if session.kind == "redirect" and session.name is None:
        say(
            here,
            f"{_of(service.name)} a session by redirect and no names to send clients to; give the "
            'servers\' own in session.name, such as name = "{server}.example.org"',
        )
    if session.kind == "learn" and session.cookie is None:
        say(
            here,
            f"{_of(service.name)} a session by learning and no cookie to learn; give the name of "
            'the application\'s own in session.cookie, such as cookie = "JSESSIONID"',
        )


def _checks(config: Config, say: _Say) -> None:
    for position, service in enumerate(config.service):
        check, whose = service.check, f'service "{service.name}"'
        if check is None:
            continue
        here = ("service", position, "check")
        if check.http is not None and check.https is not None:
            say(here, f"{whose} has both check.http and check.https; say one of them")
        port = next((p for p in (service.listener.port, service.port) if p in TLS_PORTS), None)
        if check.http is not None and check.https is None and port is not None:
            say(
                (*here, "http"),
                f"{whose} has check.http on port {port}, where applications speak TLS; say "
                f'check = {{ https = "{check.http}", host = "www.example.org" }}',
            )
        for name in ("host", "status"):
            if check.path is None and getattr(check, name) != getattr(Check(), name):
                say((*here, name), f"{whose} has check.{name} and asks for nothing; say https too")
        if check.verify and (check.https is None or check.host is None):
            say(
                (*here, "verify"),
                f"{whose} has check.verify = true, which needs check.https, and in check.host "
                "the name that its certificate is for",
            )
        if not check.statuses:
            say(
                (*here, "status"),
                f'{whose} has check.status = "{check.status}"; the first must not be the larger',
            )


def _pools(config: Config, say: _Say) -> None:
    pools = [pool.name for pool in config.pool]
    for position, name in _repeated(pools):
        say(("pool", position, "name"), f'a second pool is called "{name}"; give each its own name')
    for position, pool in enumerate(config.pool):
        if not any(pool.servers.values()):
            say(
                ("pool", position, "servers"),
                f'pool "{pool.name}" gives every server weight 0; at least one must have more',
            )


def _not_yet(config: Config, say: _Say) -> None:
    """What the data plane does not do is refused: half a rule would answer from a wrong server."""
    for position, service in enumerate(config.service):
        here = ("service", position)
        if service.decide == "request" and service.select == "connection":
            say(
                (*here, "decide"),
                f'{_of(service.name)} decide = "request" and select = "connection"; who chooses '
                "before any request cannot choose at each, so one of them must go",
            )


def _of(service: str) -> str:
    return f'service "{service}" has'


def _repeated(items: Iterable[T]) -> list[tuple[int, T]]:
    """(position, item) of every item that was there before."""
    seen: set[T] = set()
    found = []
    for position, item in enumerate(items):
        if item in seen:
            found.append((position, item))
        seen.add(item)
    return found
