# SPDX-License-Identifier: Apache-2.0
"""The path of a URL as rules see it: nginx calls it $uri and compares its locations with it.

In this order: the query and the fragment are cut off; percent-encoded bytes are decoded, once;
empty segments and `.` go; `..` takes the segment before it along (RFC 3986, 5.2.4). A path that
would climb above the root is none.
"""

from urllib.parse import unquote_to_bytes


def normal_path(target: str) -> str | None:
    """The path that rules are compared with, None for a target that has none.

    Bytes that are no UTF-8 stay as surrogates, so that different paths stay different.
    """
    if not target.startswith("/"):
        return None
    raw = unquote_to_bytes(target.split("#")[0].split("?")[0].encode("utf-8", "surrogateescape"))
    return without_dots(raw.decode("utf-8", "surrogateescape"))


def without_dots(path: str) -> str | None:
    """A decoded path without empty and dot segments, None where it climbs above the root."""
    kept: list[str] = []
    *directories, last = path.split("/")[1:]
    for segment in directories:
        if segment == "..":
            if not kept:
                return None
            kept.pop()
        elif segment not in ("", "."):
            kept.append(segment)
    if last == "..":
        if not kept:
            return None
        kept.pop()
    folder = "".join(f"/{segment}" for segment in kept)
    return f"{folder}/" if last in ("", ".", "..") else f"{folder}/{last}"
