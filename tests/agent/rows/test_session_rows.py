# SPDX-License-Identifier: Apache-2.0
"""A service's session as the data plane reads it."""

from typing import Any

import msgspec
import pytest

from ipos.abi import rows
from ipos.abi.codec import Codec
from ipos.abi.layout import constant
from ipos.agent.rows.session_rows import session_row
from ipos.config.schema import Session

VALUE = constant("IPOS_SESSION_VALUE_LEN")


@pytest.mark.parametrize(
    ("given", "attributes"),
    [
        ({}, "; Path=/; HttpOnly"),
        ({"http_only": False}, "; Path=/"),
        ({"path": "/shop", "domain": "example.org"}, "; Path=/shop; Domain=example.org; HttpOnly"),
        ({"max_age_s": 60, "secure": True}, "; Path=/; Max-Age=60; HttpOnly; Secure"),
        ({"same_site": "strict"}, "; Path=/; HttpOnly; SameSite=Strict"),
        ({"same_site": "none", "secure": True}, "; Path=/; HttpOnly; Secure; SameSite=None"),
    ],
)
def test_the_line_has_the_attributes(given: dict[str, Any], attributes: str) -> None:
    row = session_row(Session(kind="insert", cookie="SID", **given))
    start = b"Set-Cookie: SID="
    assert row.line == start + bytes(VALUE) + attributes.encode() + b"\r\n"
    assert row.value_at == len(start)


def test_the_longest_line_fits() -> None:
    longest = Session(
        kind="insert", cookie="c" * 64, path="/" + "p" * 127, domain="d" * 100,
        max_age_s=34_560_000, secure=True, same_site="strict",
    )  # fmt: skip
    msgspec.convert(msgspec.to_builtins(longest), Session)  # nothing longer is configured
    row = session_row(longest)
    assert len(row.line) <= constant("IPOS_SESSION_LINE_MAX")
    Codec(rows.Session).encode(row)
