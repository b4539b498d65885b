# SPDX-License-Identifier: Apache-2.0
"""Holds a dashboard against Grafana's schema, as Grafana publishes it for Python: every key of ours
is one of the schema's, and every value has the type that the schema gives it.

python dashboard_types.py FILE, in an environment that has grafana-foundation-sdk.
"""

import importlib
import json
import sys
import types
import typing
from enum import Enum
from typing import Any


def faults(value: Any, wanted: Any, where: str) -> list[str]:
    """What is of another type than wanted, at any depth."""
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in parts:
            return []
        tried = [faults(value, part, where) for part in parts if part is not type(None)]
        return min(tried, key=len)
    if origin is typing.Literal:
        return [] if value in parts else [f"{where}: {value!r} is none of {parts}"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{where}: {value!r} is no list"]
        return [
            each for n, item in enumerate(value) for each in faults(item, parts[0], f"{where}[{n}]")
        ]
    if origin is dict:
        if not isinstance(value, dict):
            return [f"{where}: {value!r} is no object"]
        return [
            each for key, item in value.items() for each in faults(item, parts[1], f"{where}.{key}")
        ]
    if wanted in (Any, object) or not isinstance(wanted, type):
        return []
    if issubclass(wanted, Enum):
        known = [each.value for each in wanted]
        return (
            []
            if value in known or isinstance(value, wanted)
            else [f"{where}: {value!r} is none of {known}"]
        )
    allowed = (int, float) if wanted is float else wanted
    if not isinstance(value, allowed) or (isinstance(value, bool) and wanted is not bool):
        return [f"{where}: {value!r} is no {wanted.__name__}"]
    return _members(value, where)


def _members(value: Any, where: str) -> list[str]:
    """Of an object of the schema's, those of its declared members; nothing of a plain value."""
    hints = typing.get_type_hints(type(value)) if hasattr(type(value), "from_json") else {}
    return [
        each
        for name, wanted in hints.items()
        for each in faults(getattr(value, name), wanted, f"{where}.{name}")
    ]


def lost(ours: Any, theirs: Any, where: str) -> list[str]:
    """What the schema's own reader has not taken, because it knows no such key or value."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            each
            for key, value in ours.items()
            for each in (
                lost(value, theirs[key], f"{where}.{key}")
                if key in theirs
                else [f"{where}.{key}: the schema has no such key"]
            )
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [
            each
            for n, pair in enumerate(zip(ours, theirs, strict=True))
            for each in lost(*pair, f"{where}[{n}]")
        ]
    return [] if ours == theirs else [f"{where}: {ours!r} becomes {theirs!r}"]


def main(file: str) -> int:
    encoder, plugins, models = (
        importlib.import_module(f"grafana_foundation_sdk.{name}")
        for name in ("cog.encoder", "cog.plugins", "models.dashboard")
    )
    plugins.register_default_plugins()
    with open(file) as opened:
        ours = json.load(opened)
    read = models.Dashboard.from_json(ours)
    said = faults(read, models.Dashboard, "dashboard")
    said += lost(ours, json.loads(json.dumps(read, cls=encoder.JSONEncoder)), "dashboard")
    print("\n".join(said) or f"no fault in {len(ours['panels'])} panels")
    return bool(said)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
