# SPDX-License-Identifier: Apache-2.0
"""Reads a few members of a struct of `abi/ipos.h` from thousands of values at once.

`ipos.abi.rows` decodes all of a row, which takes tens of microseconds. Code that looks at every row
of a table several times a second needs the age of each, in a tenth of a microsecond, and a few
numbers of the old ones. So one compiled format is applied to all the bytes of a batch.
"""

import struct
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Generic, TypeVar

from ipos.abi.layout import Integer, layout

R = TypeVar("R", bound=tuple[Any, ...])
_HOST = "<" if sys.byteorder == "little" else ">"


class Columns(Generic[R]):
    """Reads named members into a named tuple, and writes them with zero everywhere else.

    Integers of host order are numbers; what is in network order, an array or a struct is bytes.
    """

    def __init__(
        self, name: str, names: tuple[str, ...], make: Callable[[Iterable[Any]], R]
    ) -> None:
        """`names` in the struct's own order; `make` is a named tuple's."""
        shape = layout(name)
        form, at = "=", 0
        for field in (shape.field(name) for name in names):
            if field.offset < at:
                raise ValueError(f"{shape.name}.{field.name} is not in the struct's order")
            code = f"{field.size}s"
            if isinstance(field.element, Integer) and field.count is None:
                code = field.element.code if field.element.order == _HOST else code
            form += f"{field.offset - at}x{code}"
            at = field.offset + field.size
        self._struct = struct.Struct(f"{form}{shape.size - at}x")
        self._make = make

    def read(self, value: bytes) -> R:
        return self._make(self._struct.unpack(value))

    def read_at(self, values: bytes, place: int) -> R:
        """Of the value at this place of a batch."""
        return self._make(self._struct.unpack_from(values, place * self._struct.size))

    def read_all(self, values: bytes) -> Iterator[tuple[Any, ...]]:
        """Of all values of a batch, as plain tuples."""
        return self._struct.iter_unpack(values)

    def write(self, row: R) -> bytes:
        return self._struct.pack(*row)


class Among:
    """A number of host order that a struct has, looked at in thousands of values at once."""

    def __init__(self, name: str, member: str) -> None:
        shape = layout(name)
        field = shape.field(member)
        assert isinstance(field.element, Integer)
        assert field.element.order == _HOST
        rest = shape.size - field.offset - field.size
        self._struct = struct.Struct(f"={field.offset}x{field.element.code}{rest}x")

    def places(self, values: bytes, wanted: Collection[int]) -> list[int]:
        """Where in the batch are rows that have one of these."""
        rows = self._struct.iter_unpack(values)
        return [place for place, (number,) in enumerate(rows) if number in wanted]


class Since:
    """A time in nanoseconds that a struct has, looked at in thousands of values at once."""

    def __init__(self, name: str, member: str) -> None:
        shape = layout(name)
        field = shape.field(member)
        rest = shape.size - field.offset - field.size
        self._struct = struct.Struct(f"={field.offset}xQ{rest}x")

    def before(self, values: bytes, when_ns: int) -> list[int]:
        """Which of the rows, by their places in the batch, are from before that.

        A time of 0 is before all, also where a machine that has just started reckons `when_ns` to
        be below 0.
        """
        rows, first_ns = self._struct.iter_unpack(values), max(when_ns, 1)
        return [place for place, (since_ns,) in enumerate(rows) if since_ns < first_ns]


class SinceIn(Since):
    """The same, of rows alone that have a state: one byte, before the time in the struct."""

    def __init__(self, name: str, member: str, state: str, value: int) -> None:
        super().__init__(name, member)
        shape = layout(name)
        field, byte = shape.field(member), shape.field(state)
        rest = shape.size - field.offset - field.size
        gap = field.offset - byte.offset - 1
        self._both = struct.Struct(f"={byte.offset}xB{gap}xQ{rest}x")
        self._value = value

    def before(self, values: bytes, when_ns: int) -> list[int]:
        rows, wanted = self._both.iter_unpack(values), self._value
        return [
            place
            for place, (state, since_ns) in enumerate(rows)
            if state == wanted and since_ns < when_ns
        ]
