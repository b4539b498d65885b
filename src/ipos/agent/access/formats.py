# SPDX-License-Identifier: Apache-2.0
"""A line of the access log for a request, in the formats that other programs read. Pure.

The data plane reads a request's method, version, host and path, and none of its other fields. What
it does not know is "-" or -1, as these formats have it.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

Format = Literal["decisions", "json", "combined", "haproxy"]
Told = Mapping[str, Any]


def as_json(told: Told) -> bytes:
    """JSON in ASCII: no byte of a client's can end it early."""
    return json.dumps(told).encode() + b"\n"


def as_combined(told: Told) -> bytes:
    """Apache's and nginx's `combined`, and behind it the microseconds until the last byte."""
    when = datetime.fromtimestamp(told["time"], UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    took = told.get("took")
    fields = (
        told["client"].rpartition(":")[0], "-", "-", f"[{when}]", f'"{_request(told)}"',
        _or(told.get("status"), "-"), _or(told.get("bytes"), "-"), '"-"', '"-"',
        "-" if took is None else str(round(took * 1e6)),
    )  # fmt: skip
    return " ".join(fields).encode() + b"\n"


def as_haproxy(told: Told) -> bytes:
    """HAProxy's `option httplog`: the pool in the place of its backend.

    Of its five times TR, Tw and Tc are 0, Tr is that of the first byte and Ta that of the last.
    """
    moment = datetime.fromtimestamp(told["time"], UTC)
    when = moment.strftime("%d/%b/%Y:%H:%M:%S.") + f"{moment.microsecond // 1000:03d}"
    server = told["server"]
    pool = told.get("pool") or told["service"] or "-"
    first, took = _ms(told.get("first_byte")), _ms(told.get("took"))
    fields = (
        told["client"], f"[{when}]", told["service"] or "-", f"{pool}/{server or '<NOSRV>'}",
        f"0/0/{0 if server else -1}/{first}/{took}", _or(told.get("status"), "-1"),
        _or(told.get("bytes"), "0"), "-", "-", _ended(told), "0/0/0/0/0", "0/0",
        f'"{_request(told, "<BADREQ>")}"',
    )  # fmt: skip
    return " ".join(fields).encode() + b"\n"


FORMATS: Mapping[Format, Callable[[Told], bytes]] = {
    "decisions": as_json,
    "json": as_json,
    "combined": as_combined,
    "haproxy": as_haproxy,
}


def _ended(told: Told) -> str:
    """HAProxy's termination state: who has ended it, and in which phase."""
    if not told["server"]:
        return "PR--" if told.get("status") in (400, 408, 431) else "SC--"
    if told.get("ended_by") is None:
        return "----"
    phase = "H" if told.get("first_byte") is None else "D"
    return f"{'C' if told['ended_by'] == 'client' else 'S'}{phase}--"


def _request(told: Told, unread: str = "-") -> str:
    """The request's line, its target in the absolute form, which has the host."""
    if told.get("path") is None:
        return unread
    host, version = told.get("host"), told.get("version")
    target = f"{'http://' + host if host else ''}{told['path'].replace(' ', '%20')}"
    protocol = f"HTTP/{version}" if version else "-"
    return _escaped(f"{told.get('method') or '-'} {target} {protocol}")


def _escaped(text: str) -> str:
    """Printable ASCII without quotes: the rest as \\xHH of its UTF-8, which log readers know."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02X}"
        for byte in text.encode("utf-8", "surrogateescape")
    )


def _ms(seconds: float | None) -> int:
    return -1 if seconds is None else round(seconds * 1000)


def _or(value: int | None, otherwise: str) -> str:
    return otherwise if value is None else str(value)
