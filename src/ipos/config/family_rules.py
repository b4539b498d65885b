# SPDX-License-Identifier: Apache-2.0
"""What does not go together with IPv6 service addresses. Pure.

Services of TCP are served at addresses of both families. What the data plane does for IPv4 only is
refused beside an IPv6 address, where half of it would answer from a wrong server.
"""

from collections.abc import Callable, Iterator

from ipos.config import locate, ownprograms
from ipos.config.schema import Config, Service
from ipos.ip_family import sixes, unusable

_Say = Callable[[locate.Path, str], None]


def check_families(config: Config, say: _Say) -> None:
    """A sentence for every service address that cannot be one, and for each contradiction."""
    found = sixes(config.server.addresses)
    for address in found:
        why = unusable(address)
        if why:
            say(("server", "addresses"), f"server.addresses has {address}, which is {why}")
    if not found:
        return
    has = f"server.addresses has the IPv6 address {found[0]}"
    for where, what in _of_farm(config):
        say(where, f"{has} and {what}")
    for position, service in enumerate(config.service):
        for place, what in _of_service(service):
            say(("service", position, place), f'{has} and service "{service.name}" {what}')


def _of_farm(config: Config) -> Iterator[tuple[locate.Path, str]]:
    if config.uplink:
        what = "there are uplinks, which lead IPv4 only; leave one of them out"
        yield ("server", "addresses"), what
    if config.farm.announce == "bgp":
        what = (
            'farm.announce is "bgp", by which routers are told of IPv4 addresses only; say "arp", '
            "which includes neighbour discovery"
        )
        yield ("farm", "announce"), what
    if config.farm.own_programs == "farm":
        what = 'farm.own_programs is "farm"; own programs are clients by IPv4 only, so say "refuse"'
        yield ("farm", "own_programs"), what


def _of_service(service: Service) -> Iterator[tuple[str, str]]:
    if service.protocol != "tcp":
        return
    if service.listener.box:
        what = (
            f"has its application in {service.listener.box}, where only connections over IPv4 can "
            "be given; let it listen on the server itself"
        )
        yield "application", what
    if service.session is not None and service.session.kind == "source":
        what = (
            'has a session of kind = "source", which knows IPv4 clients only; keep it by a cookie, '
            "or leave the IPv6 address out"
        )
        yield "session", what


def notes(config: Config) -> list[str]:
    """What is right beside an IPv6 address, and probably not meant."""
    if not sixes(config.server.addresses):
        return []
    udp = [f'"{one.name}"' for one in config.service if one.protocol == "udp"]
    found = []
    if udp:
        found.append(
            f"the services of UDP ({', '.join(udp)}) are not served at IPv6 addresses, where their "
            "datagrams pass to the kernel: give their names in DNS only IPv4 addresses"
        )
    refused = [f'"{one.name}"' for one in config.service if ownprograms.is_refused(config, one)]
    if refused:
        found.append(
            f"programs on {config.server.name} itself that connect to the services "
            f"{', '.join(refused)} by an IPv6 address are not refused, and get this server's own "
            "application: let them use IPv4 addresses, which refuse them"
        )
    return found
