# SPDX-License-Identifier: Apache-2.0
"""What only the whole file can tell: names that must exist, things that may be there once."""

import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from ipos.config import locate
from ipos.config.errors import Mistake
from ipos.config.routes import check_routes
from ipos.config.schema import Config, Service, Session

SECRET_MIN = 16
SERVICES_MAX = 64
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
    _services(config, say)
    _sessions(config, say)
    _pools(config, say)
    check_routes(config, places, say)
    _not_yet(config, say)
    return mistakes


def secret_path(config: Config, file: Path) -> Path:
    """The secret's file; a relative path starts where the configuration is."""
    return file.parent / config.farm.secret_file


def read_secret(path: Path) -> bytes:
    """The farm's secret: the file's bytes without white space around them."""
    return path.read_bytes().strip()


def _farm(config: Config, say: _Say) -> None:
    farm, server = config.farm, config.server
    if not farm.members and not farm.discover:
        say(
            ("farm",),
            "[farm] names no members; list their back addresses in members, or set discover = true",
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
    for _, address in _repeated(server.addresses):
        say(
            ("server", "addresses"),
            f"server.addresses names {address} twice; name each address once",
        )
    for address in server.addresses:
        if address in farm.members:
            say(
                ("server", "addresses"),
                f"server.addresses has {address}, which farm.members has as a back address; "
                "clients connect to service addresses, servers talk through back addresses",
            )
    if server.front == server.back and not farm.authenticate:
        say(
            ("farm", "authenticate"),
            f'farm.authenticate is false while front and back are both "{server.front}", where '
            "anybody could send frames; it must be true",
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
        length = len(read_secret(path))
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
    if length < SECRET_MIN:
        say(
            where,
            f"farm.secret_file {path} holds {length} bytes; it must hold at least {SECRET_MIN}",
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


_INSERTED = ("an attribute of cookies that", ("insert",), "makes")
_SENT = ("where", ("redirect",), "sends clients")
_SESSION_KEYS = {
    "cookie": ("the cookie that", ("insert", "learn"), "goes by"),
    "expire_s": ("how long", ("learn",), "remembers a cookie"),
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
            whose = " or ".join(f'"{kind}"' for kind in kinds)
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
        if service.protocol == "udp":
            say((*here, "protocol"), f'{_of(service.name)} protocol "udp"; only "tcp" is served')
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
