# SPDX-License-Identifier: Apache-2.0
"""Writes a configuration as TOML, as a file that `load` would read with the same result."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ipos.config.schema import Config
from ipos.config.slots import Slot


def as_document(config: Config, *, defaults: bool) -> dict[str, Any]:
    """Plain tables, lists, strings and numbers; `defaults` adds what the file did not say.

    A key whose default is "not set" is left out in either case.
    """
    said = [one for one in config.service if not isinstance(one, Slot)]
    document = _table(msgspec.structs.replace(config, service=said), defaults)
    assert isinstance(document, dict)
    return document


def as_toml(document: Mapping[str, Any]) -> str:
    """TOML: tables at the top, lists of tables as [[...]], deeper ones inline."""
    lines: list[str] = []
    for name, table in document.items():
        if isinstance(table, list):
            for entry in table:
                lines += [f"[[{name}]]", *_pairs(entry), ""]
        else:
            lines += [f"[{name}]", *_pairs(table), ""]
    return "\n".join(lines[:-1]) + "\n" if lines else ""


def _table(value: Any, defaults: bool) -> Any:
    if isinstance(value, msgspec.Struct):
        table = {}
        for entry in msgspec.structs.fields(value):
            found = getattr(value, entry.name)
            given = defaults or entry.required or found != _default(entry)
            if given and found is not None and found not in ([], {}):
                table[entry.encode_name] = _table(found, defaults)
        return table
    if isinstance(value, list):
        return [_table(item, defaults) for item in value]
    if isinstance(value, dict):
        return dict(value)
    return value if isinstance(value, bool | int | float | str) else str(value)


def _default(entry: msgspec.structs.FieldInfo) -> Any:
    if entry.default_factory is not msgspec.NODEFAULT:
        return entry.default_factory()
    return entry.default


def _pairs(table: Mapping[str, Any]) -> Iterator[str]:
    return (f"{name} = {_value(value)}" for name, value in table.items())


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # JSON's escapes are TOML's too, but for DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items()) + " }"
    return str(value)


def _key(key: str) -> str:
    bare = key.replace("-", "").replace("_", "")
    return key if bare.isascii() and bare.isalnum() else _value(key)
