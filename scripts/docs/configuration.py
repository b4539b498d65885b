# SPDX-License-Identifier: Apache-2.0
"""docs/configuration.md: from the schema, whose words are also those of the error messages."""

import typing
from typing import Any

import msgspec

from ipos.config import (
    agent_section,
    connection_id,
    health_check,
    schema,
    spawning,
    starting,
    uplink,
)
from ipos.config.meanings import MEANINGS
from scripts.docs.markdown import code, page, section, summary, table

_TABLES = (
    schema.Farm, schema.Limits, schema.Server, agent_section.Agent, schema.Service, schema.Session,
    connection_id.ConnectionId, health_check.Check, starting.Start, spawning.Spawn, schema.Pool,
    schema.Route, uplink.Uplink,
)  # fmt: skip

_INTRODUCTION = """
One TOML file per server, `/etc/ipos/ipos.toml`. `[farm]`, `[[service]]`, `[[pool]]`,
`[[route]]` and `[[uplink]]` but for its `interface` are the same on all of them; `[server]` and
`[agent]` are this machine.

```sh
ipos config check /etc/ipos/ipos.toml    # every mistake, by line
ipos config show --effective             # with every default written out
```

The schema has some keys that the data plane cannot follow yet. The check refuses such a key and
says so, because a rule that is followed only in part would lead requests to a wrong server.
"""


def document() -> str:
    return page(
        "Configuration",
        _INTRODUCTION,
        (_struct(kind) for kind in _TABLES),
    )


def _struct(kind: type[msgspec.Struct]) -> str:
    name, _, rest = summary(kind).partition(": ")
    rows = (
        (
            code(field.encode_name),
            MEANINGS[f"{kind.__name__}.{field.name}"],
            _must(kind, field.name),
            _default(field),
        )
        for field in _fields(kind)
    )
    said = rest[:1].upper() + rest[1:]
    return section(name, said, table(("Key", "Meaning", "Must be", "Default"), rows))


def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def _must(kind: type[msgspec.Struct], name: str) -> str:
    hint = typing.get_type_hints(kind, include_extras=True)[name]
    descriptions = [text for text in map(_described, _parts(hint)) if text]
    if descriptions:
        return descriptions[0]
    table_of = next(each for each in _parts(hint) if isinstance(each, type))
    return f"a table, see {summary(table_of).partition(': ')[0]}"


def _parts(hint: Any) -> list[Any]:
    """A hint and, of a union, its members."""
    return [hint, *(typing.get_args(hint) if not hasattr(hint, "__metadata__") else ())]


def _described(hint: Any) -> str:
    for each in getattr(hint, "__metadata__", ()):
        if isinstance(each, msgspec.Meta) and each.description:
            return each.description
    return ""


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    if field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    else:
        value = field.default
    if value is None or value == []:
        return ""
    if isinstance(value, msgspec.Struct):
        return "each key's own"
    if field.name == "ethertype":
        return code(f"0x{value:04X}")
    return code(msgspec.json.encode(value).decode())
