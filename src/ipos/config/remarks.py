# SPDX-License-Identifier: Apache-2.0
"""What is right in a configuration and probably not meant. Pure.

`ipos config check` prints these sentences as notes, and the agent logs them.
"""

from ipos.config import family_rules, ownprograms
from ipos.config.schema import Config, Service

_TLS_PORTS = (443, 465, 636, 853, 993, 995, 8443)
_BY_COOKIE = ("insert", "learn", "identify")


def remarks(config: Config) -> list[str]:
    """A sentence each, in the order of the file."""
    return [
        *ownprograms.notes(config),
        *_cookies(config),
        *_stars(config),
        *family_rules.notes(config),
    ]


def _cookies(config: Config) -> list[str]:
    """Nothing in TLS can be read, so a session there cannot be kept by a cookie."""
    return [
        f'the session of service "{service.name}" is kept by a cookie, and its port {service.port} '
        'speaks TLS, in which no cookie can be read: say session = { kind = "source" }, or end '
        "TLS before this service"
        for service in config.service
        if service.session is not None and service.session.kind in _BY_COOKIE and _is_tls(service)
    ]


def _is_tls(service: Service) -> bool:
    return service.mode == "tls" or (service.mode == "auto" and service.port in _TLS_PORTS)


def _stars(config: Config) -> list[str]:
    """A path is a prefix already; a star in it is compared as a letter."""
    return [
        f'the path "{route.path}" of a route of service "{route.service}" fits only paths with a '
        f'star in them, since a path is a prefix: say path = "{route.path.split("*")[0]}"'
        for route in config.route
        if "*" in route.path
    ]
