# SPDX-License-Identifier: Apache-2.0
"""The application protocols that a route may name, and which clients offer (ALPN, RFC 7301)."""

from collections.abc import Iterator, Sequence
from typing import Annotated

from msgspec import Meta

Offers = Annotated[
    list[Annotated[str, Meta(pattern=r"^[\x21-\x7e]{1,32}$")]],
    Meta(
        min_length=1,
        max_length=16,
        description='a list of 1 to 16 names of protocols, such as ["h2", "http/1.1"]',
    ),
]


def mistakes(offers: Sequence[str], path: str, service: str, mode: str) -> Iterator[str]:
    """A sentence for each reason why a route with these protocols fits no client."""
    if path != "/":
        yield (
            f'a route has alpn and path = "{path}"; a client that offers protocols has told no '
            "path yet; leave one of them out"
        )
    for protocol in sorted({one for one in offers if offers.count(one) > 1}):
        yield f'alpn names "{protocol}" twice; name each protocol once'
    if mode not in ("auto", "tls", "quic"):
        yield (
            f'service "{service}" has mode = "{mode}", and a route with alpn, which only TLS and '
            'QUIC have; say mode = "tls", or leave alpn out'
        )
