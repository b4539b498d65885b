# SPDX-License-Identifier: Apache-2.0
"""Learns an application's own session cookie from the bytes of its responses. Pure;
`select/learn.h` does the same in C.

Only heads are looked at, up to the end of the first final one (RFC 9110, 15.2; 101 is final). The
syntax is that of RFC 6265 section 4.1: ``Set-Cookie: name=value; attribute...``. A cookie that the
application deletes, by ``Max-Age`` of 0 or less or by ``Expires`` in 1970, is forgotten; the last
Max-Age decides, and 1970 always.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ipos.selection.sessions import COOKIE_MAX

_BLANK = b" \t"
_FIELD = b"set-cookie:"


@dataclass(frozen=True, slots=True)
class Noticed:
    """A cookie of the session's name, without white space around its value."""

    value: bytes
    deleted: bool


def noticed(sent: bytes, name: bytes) -> Iterator[Noticed]:
    """What an application has told its client so far, in order. name: of the session's cookie."""
    lines = iter(sent.split(b"\n")[:-1])  # the last is not whole
    interim = False
    for status in lines:
        if status[:7].lower() != b"http/1.":
            return
        code = (status + b"\n")[9:12]  # "HTTP/1.1 200"; a line may end where it should be
        if code:
            interim = code[:1] == b"1" and code != b"101"
        for line in lines:
            field = line.replace(b"\r", b"")
            if not field:
                break
            found = _cookie(field, name)
            if found is not None:
                yield found
        if not interim:
            return


def _cookie(field: bytes, name: bytes) -> Noticed | None:
    if field[: len(_FIELD)].lower() != _FIELD:
        return None
    said = field[len(_FIELD) :].lstrip(_BLANK)
    if not said.startswith(name + b"="):
        return None
    value, *attributes = said[len(name) + 1 :].split(b";")
    value = value.lstrip(_BLANK)
    if len(value) > COOKIE_MAX or not value.rstrip(_BLANK):
        return None
    deleted = False
    for attribute in attributes:
        text = attribute.lstrip(_BLANK).lower()
        if text.startswith(b"max-age=") and len(text) > 8:
            deleted = text[8] in b"0-"
        elif text.startswith(b"expires="):
            deleted |= b"1970" in text[8:]
    return Noticed(value.rstrip(_BLANK), deleted)
