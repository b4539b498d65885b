# SPDX-License-Identifier: Apache-2.0
"""How a server knows that an application of its own is well: `check` of a service."""

from typing import Annotated

from msgspec import Meta, Struct


class Check(Struct, frozen=True, forbid_unknown_fields=True):
    """`check = { ... }` of a service: how a server knows that its application is well.

    Without `http` and `https`, that it accepts a TCP connection. `host` is the Host header, and the
    name that TLS asks for. A certificate is not checked, because the server asks its own
    application; with `verify` it must be valid for `host`.
    """

    http: (
        Annotated[
            str,
            Meta(pattern=r"^/[!-~]*$", max_length=1024, description='a path, such as "/health"'),
        ]
        | None
    ) = None
    https: (
        Annotated[
            str,
            Meta(pattern=r"^/[!-~]*$", max_length=1024, description='a path, such as "/health"'),
        ]
        | None
    ) = None
    host: (
        Annotated[
            str,
            Meta(
                pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(:[0-9]{1,5})?$",
                max_length=255,
                description='a host name, such as "www.example.org"',
            ),
        ]
        | None
    ) = None
    status: Annotated[
        str,
        Meta(
            pattern=r"^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$",
            description='a status or a range of them, such as "200" or "200-399"',
        ),
    ] = "200-399"
    verify: Annotated[bool, Meta(description="true or false")] = False
    interval_ms: Annotated[
        int, Meta(ge=50, le=600_000, description="50 to 600000 milliseconds")
    ] = 500
    rise: Annotated[int, Meta(ge=1, le=100, description="a number of checks from 1 to 100")] = 2
    fall: Annotated[int, Meta(ge=1, le=100, description="a number of checks from 1 to 100")] = 3

    @property
    def path(self) -> str | None:
        """The path that is requested; None where a connection is enough."""
        return self.http if self.https is None else self.https

    @property
    def statuses(self) -> range:
        """The statuses of an application that is well."""
        first, _, last = self.status.partition("-")
        return range(int(first), int(last or first) + 1)
