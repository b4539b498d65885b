# SPDX-License-Identifier: Apache-2.0
"""A service's session as the data plane reads it. Pure."""

from ipos.abi import rows
from ipos.abi.layout import constant
from ipos.config.schema import Session

KINDS = {
    "insert": rows.SessionKind.INSERT,
    "learn": rows.SessionKind.LEARN,
    "identify": rows.SessionKind.IDENTIFY,
    "redirect": rows.SessionKind.REDIRECT,
    "source": rows.SessionKind.SOURCE,
}


def session_row(session: Session) -> rows.Session:
    """The row. That of a cookie that the iNIC makes has its Set-Cookie line (RFC 6265, 4.1.1)."""
    kind = KINDS[session.kind]
    name = session.cookie_name.encode()
    if kind in (rows.SessionKind.SOURCE, rows.SessionKind.REDIRECT):
        return rows.Session(kind)
    if kind is rows.SessionKind.LEARN:
        return rows.Session(kind, name=name, lifetime_s=session.expire_s)
    start = b"Set-Cookie: " + name + b"="
    value = bytes(constant("IPOS_SESSION_VALUE_LEN"))
    line = start + value + "".join(_attributes(session)).encode() + b"\r\n"
    lives_s = session.expire_s if kind is rows.SessionKind.IDENTIFY else 0
    return rows.Session(kind, len(start), name=name, line=line, lifetime_s=lives_s)


def _attributes(session: Session) -> list[str]:
    found = [f"; Path={session.path}"]
    if session.domain is not None:
        found.append(f"; Domain={session.domain}")
    if session.max_age_s is not None:
        found.append(f"; Max-Age={session.max_age_s}")
    if session.http_only:
        found.append("; HttpOnly")
    if session.secure:
        found.append("; Secure")
    if session.same_site is not None:
        found.append(f"; SameSite={session.same_site.capitalize()}")
    return found
