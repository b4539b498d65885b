# SPDX-License-Identifier: Apache-2.0
"""Reads a TOML file into a `Config`, or lists every mistake in it at once.

Each key is checked by itself against its field of the schema, so that one run shows everything that
is wrong. Checks that need the whole file come after that. A message names file and line, and says
what is wrong and what would be right.
"""

import difflib
import functools
import tomllib
import types
import typing
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import msgspec

from ipos.config import locate
from ipos.config.crosscheck import crosscheck
from ipos.config.errors import ConfigError, Mistake
from ipos.config.listener import Listener
from ipos.config.schema import Config
from ipos.config.slots import with_slots
from ipos.files import FileError, read_bounded
from ipos.ip_family import Address, Network, parse_address, parse_network

_OF_EITHER_FAMILY: dict[Any, Callable[[str], Any]] = {
    Address: parse_address,
    Network: parse_network,
}


def load(file: Path) -> Config:
    """Read and check a configuration file. ConfigError says all that is wrong with it."""
    try:
        raw = read_bounded(file)
        text = raw.decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(
            file, [Mistake(0, "there is no such file; `ipos setup` writes the first one")]
        ) from None
    except OSError as error:
        raise ConfigError(file, [Mistake(0, f"cannot be read: {error.strerror}")]) from None
    except FileError as error:
        raise ConfigError(file, [Mistake(0, f"cannot be read: {error}")]) from None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(file, [Mistake(line, "is not UTF-8; save it as UTF-8")]) from None
    return parse(text, file)


def parse(text: str, file: Path) -> Config:
    """Check a configuration's text. `file` names it in messages and is where paths start."""
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(file, [Mistake(0, "is nested too deeply")]) from None
    except ValueError as error:  # TOMLDecodeError, and what else a number can be wrong by
        raise ConfigError(file, [_syntax(str(error))]) from None
    places = locate.lines(text)
    walker = _Walker(places)
    config = walker.table(Config, document, ())
    if not isinstance(config, Config):
        raise ConfigError(file, walker.mistakes)
    mistakes = crosscheck(config, file, places)
    if mistakes:
        raise ConfigError(file, mistakes)
    return with_slots(config)


def _syntax(message: str) -> Mistake:
    """tomllib's "... (at line 3, column 5)" with the line where ours stand."""
    what, _, where = message.rpartition(" (at ")
    number = where.removeprefix("line ").split(",")[0]
    if number.isdigit():
        return Mistake(int(number), f"is not TOML: {what[:1].lower()}{what[1:]}")
    return Mistake(0, f"is not TOML: {message}")


def _shown(value: Any) -> str:
    """A value as TOML would have it, short enough for a sentence."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, list):
        text = "[" + ", ".join(map(_shown, value)) + "]"
    elif isinstance(value, dict):
        text = "{ " + ", ".join(f"{key} = {_shown(item)}" for key, item in value.items()) + " }"
    else:
        text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _path_name(path: locate.Path) -> str:
    """A path as a reader would say it: `farm.name`, `service[2].port` counts from 1."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _header(path: locate.Path) -> str:
    """How the table at a path is written in a file."""
    names = ".".join(part for part in path if isinstance(part, str))
    if not names:
        return "the file"
    return f"[[{names}]]" if isinstance(path[-1], int) else f"[{names}]"


class _Walker:
    """Collects mistakes while tables become structs."""

    def __init__(self, places: dict[locate.Path, int]) -> None:
        self.places = places
        self.mistakes: list[Mistake] = []

    def complain(self, path: locate.Path, text: str) -> None:
        self.mistakes.append(Mistake(locate.line_of(self.places, path), text))

    def table(
        self, kind: type[msgspec.Struct], table: dict[str, Any], path: locate.Path
    ) -> msgspec.Struct | None:
        """A table as a struct, or None when anything in it is wrong."""
        before = len(self.mistakes)
        hints = _hints(kind)
        names = {entry.encode_name: entry.name for entry in _fields(kind)}
        values: dict[str, Any] = {}
        for key, value in table.items():
            if key in hints:
                values[names[key]] = self.value(hints[key], value, (*path, key))
            else:
                self.unknown(key, list(hints), (*path, key))
        for entry in _fields(kind):
            if entry.required and entry.encode_name not in table:
                self.missing(hints[entry.encode_name], entry.encode_name, path)
        return kind(**values) if len(self.mistakes) == before else None

    def unknown(self, key: str, known: list[str], path: locate.Path) -> None:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
        right = f'did you mean "{near[0]}"?' if near else f"its keys are {', '.join(known)}"
        self.complain(path, f'{_header(path[:-1])} has no key "{key}"; {right}')

    def missing(self, hint: Any, name: str, path: locate.Path) -> None:
        kind = _struct(hint)
        if kind is not None:
            self.complain(path, f"the file has no [{name}] table; add one")
            return
        self.complain(path, f'{_header(path)} has no "{name}"; it must be {_description(hint)}')

    def value(self, hint: Any, value: Any, path: locate.Path) -> Any:
        kind = _struct(hint)
        if kind is not None:
            if isinstance(value, dict):
                return self.table(kind, value, path)
            self.complain(path, f"{_path_name(path)} is {_shown(value)}; it must be a table")
            return None
        element = _list_of_structs(hint)
        if element is not None:
            if isinstance(value, list) and all(isinstance(item, dict) for item in value):
                return [self.table(element, item, (*path, n)) for n, item in enumerate(value)]
            name = _path_name(path)
            self.complain(path, f"{name} is {_shown(value)}; it must be written as [[{name}]]")
            return None
        try:
            return msgspec.convert(value, hint, dec_hook=_converted)
        except msgspec.ValidationError:
            self.complain(
                path,
                f"{_path_name(path)} is {_shown(value)}; it must be {_description(hint)}",
            )
            return None


def _converted(kind: type, value: Any) -> Any:
    """What msgspec asks for the types it does not know."""
    if not isinstance(value, str):
        raise ValueError("a string is expected")
    if kind is Listener:
        return Listener.parse(value)
    if kind is Path:
        if not value or "\0" in value:
            raise ValueError("a path is expected")
        return Path(value)
    if kind in _OF_EITHER_FAMILY:
        return _OF_EITHER_FAMILY[kind](value)
    if kind is IPv4Address:
        return IPv4Address(value)
    if kind is IPv4Network:
        return IPv4Network(value)
    raise NotImplementedError(kind)


@functools.cache  # a file may have ten thousand tables of a kind
def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {entry.encode_name: hints[entry.name] for entry in _fields(kind)}


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def _alternatives(hint: Any) -> list[Any]:
    """The members of a union, or the hint alone."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return list(typing.get_args(hint))
    return [hint]


def _struct(hint: Any) -> type[msgspec.Struct] | None:
    for one in _alternatives(hint):
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            return one
    return None


def _list_of_structs(hint: Any) -> type[msgspec.Struct] | None:
    if typing.get_origin(hint) is list:
        return _struct(typing.get_args(hint)[0])
    return None


def _description(hint: Any) -> str:
    """The outermost description among a field's annotations."""
    for one in _alternatives(hint):
        for meta in reversed(getattr(one, "__metadata__", ())):
            if isinstance(meta, msgspec.Meta) and meta.description:
                return meta.description
    raise TypeError(f"{hint} has no description")
