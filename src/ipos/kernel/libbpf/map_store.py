# SPDX-License-Identifier: Apache-2.0
"""A map as a store of bytes, opened from its pin alone.

This needs no process that loaded the data plane: `ipos table` reads maps when the agent is dead.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from ipos.closing import Closing
from ipos.kernel.libbpf import syscall
from ipos.kernel.libbpf.errors import MapError, PinError, explain
from ipos.kernel.libbpf.map_buffers import Block, Element, Same
from ipos.kernel.libbpf.syscall import MapType

_PER_CPU: Final = {MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH}
BLOCK: Final = 4096
"""About as many rows are read at once on a walk."""
FIRST_BLOCK: Final = 64
"""And at first so many: most tables are small, and making room for rows costs more than none."""
_BATCH: Final = 1024
_MAX_BATCH: Final = 1 << 20
_UNSUPPORTED: Final = {errno.EINVAL, errno.EOPNOTSUPP, 524}  # 524: the kernel's own ENOTSUPP


def possible_cpus() -> int:
    """How many values an entry of a per-CPU map has: the kernel's possible CPUs, not the online."""
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    last = text.replace(",", "-").split("-")[-1]
    return int(last) + 1


class Map(Closing):
    """One BPF map. Keys and values are `bytes` of exactly `key_size` and `value_size`.

    A missing key is an answer (None, False); every other refusal is a `MapError`.
    """

    def __init__(self, fd: int, where: str = "") -> None:
        """Takes ownership of `fd`. `where` names the map in errors; default: its kernel name."""
        self.fd = fd
        self.info = syscall.map_info(fd)
        self.name = where or self.info.name
        self.per_cpu = self.info.type in _PER_CPU
        self._slot = (self.info.value_size + 7) & ~7
        self._cpus = possible_cpus() if self.per_cpu else 1
        self._read_size = self._slot * self._cpus if self.per_cpu else self.info.value_size
        self._element = Element(fd, self.info.key_size, self._read_size)
        self._block: Block
        self._block_size = 0
        self._summed: tuple[Sequence[bytes], Same | None] = (), None

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """The map pinned at `path`."""
        path = Path(path)
        try:
            return cls(syscall.open_pinned(path), path.name)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise PinError(
                    f"no map is pinned at {path}: the data plane is not loaded there, or is of "
                    "another version",
                    errno.ENOENT,
                ) from None
            raise PinError(
                f"cannot open the map pinned at {path}: {explain(error.errno or 0)}",
                error.errno or 0,
            ) from error

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            self._element = Element(-1, self.info.key_size, self._read_size)
            self._block_size = 0
            self._summed = (), None

    @property
    def key_size(self) -> int:
        return self.info.key_size

    @property
    def value_size(self) -> int:
        return self.info.value_size

    @property
    def max_entries(self) -> int:
        return self.info.max_entries

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, None when there is none. Not for per-CPU maps."""
        self._expect(per_cpu=False)
        return self._lookup(key)

    def get_per_cpu(self, key: bytes) -> list[bytes] | None:
        """The values of `key`, one for each possible CPU; None when there is none."""
        self._expect(per_cpu=True)
        raw = self._lookup(key)
        return None if raw is None else self._split(raw)

    def totals(self, keys: Sequence[bytes]) -> list[int]:
        """The sums over the CPUs of a per-CPU array's 8-byte counts."""
        before, same = self._summed
        if same is None or keys != before:
            self._expect(per_cpu=True)
            for key in keys:
                self._check(key)
            same = Same(self.fd, keys, self._read_size)
            self._summed = keys, same
        try:
            counts = memoryview(same.lookup()).cast("Q")
        except OSError as error:
            raise self._error("read", error) from error
        return [sum(counts[at : at + self._cpus]) for at in range(0, len(counts), self._cpus)]

    def update(self, key: bytes, value: bytes, flags: int = syscall.ANY) -> bool:
        """Store a value. False when `flags` (NOEXIST, EXIST) forbade it; a full map raises."""
        self._expect(per_cpu=False)
        self._check(key, value)
        return self._store(key, value, flags)

    def update_per_cpu(self, key: bytes, values: Iterable[bytes]) -> None:
        """Store one value for each possible CPU."""
        self._expect(per_cpu=True)
        values = list(values)
        if len(values) != self._cpus:
            raise MapError(f"map {self.name} takes {self._cpus} values per key, not {len(values)}")
        for value in values:
            self._check(key, value)
        self._store(key, b"".join(value.ljust(self._slot, b"\0") for value in values), syscall.ANY)

    def update_all(self, rows: Mapping[bytes, bytes]) -> None:
        """Store several values in one call: an array's, or a hash's that has room for all."""
        self._expect(per_cpu=False)
        if not rows:
            return
        lengths = {*map(len, rows)}, {*map(len, rows.values())}
        if lengths != ({self.key_size}, {self.value_size}):
            for key, value in rows.items():
                self._check(key, value)
        try:
            self._room(len(rows)).update(rows)
        except OSError as error:
            raise self._error("write", error) from error

    def delete(self, key: bytes) -> bool:
        """Remove a key; False when there was none."""
        self._check(key)
        try:
            syscall.map_delete(self.fd, key)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._error("delete from", error) from error
        return True

    def take(self, key: bytes) -> bytes | None:
        """Remove a key and answer the value it had, in one step; None when there was none."""
        self._expect(per_cpu=False)
        self._check(key)
        return self._take(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All pairs, without repetition while others write. Not for per-CPU maps."""
        self._expect(per_cpu=False)
        return self._pairs()

    def items_per_cpu(self) -> Iterator[tuple[bytes, list[bytes]]]:
        """All keys with their values, one for each possible CPU."""
        self._expect(per_cpu=True)
        return ((key, self._split(raw)) for key, raw in self._pairs())

    def block(
        self, position: bytes | None, count: int | None = None
    ) -> tuple[bytes, bytes, bytes | None]:
        """About `count` pairs of a hash: (all keys, all values, position of the rest or None).

        For walks too long for one go: the position stays good while others write. Without `count`
        the first block has `FIRST_BLOCK` pairs, the others have `BLOCK`.
        """
        if count is None:
            count = FIRST_BLOCK if position is None else BLOCK
        while True:
            try:
                position_after, keys, values, ended = syscall.map_lookup_block(
                    self.fd, position, count, self.key_size, self._read_size
                )
            except OSError as error:
                if error.errno == errno.ENOSPC and count < _MAX_BATCH:
                    count *= 4
                    continue
                raise self._error("walk", error) from error
            return keys, values, None if ended else position_after

    def first(self, count: int, *, locked: bool = False) -> bytes:
        """The first values of an array, end to end. locked: each under the lock that is in it."""
        self._expect(per_cpu=False)
        count = min(count, self.max_entries)
        try:
            return self._room(count).lookup(count, syscall.LOCK if locked else 0)
        except OSError as error:
            raise self._error("read", error) from error

    def _room(self, count: int) -> Block:
        if count > self._block_size:
            self._block_size = count
            self._block = Block(self.fd, self.key_size, self.value_size, count)
        return self._block

    def keys(self) -> Iterator[bytes]:
        return (key for key, _ in self._pairs())

    def count(self) -> int:
        """How many keys there are, by walking them all."""
        total, position = 0, None
        while True:
            try:
                keys, _, position = self.block(position, _BATCH)
            except MapError as error:
                if error.errno in _UNSUPPORTED and position is None:
                    return sum(1 for _ in self._pairs_by_key())
                raise
            total += len(keys) // self.key_size
            if position is None:
                return total

    def clear(self) -> None:
        """Remove every key (an array's are not removable: this raises)."""
        for key in list(self.keys()):
            self.delete(key)

    def push(self, value: bytes) -> None:
        """Put a value at the end of a queue, on top of a stack; a full one raises."""
        self._check(b"", value)
        self._store(b"", value, syscall.ANY)

    def push_all(self, values: bytes) -> None:
        """Push many values that stand end to end; what does not fit raises."""
        if len(values) % self.value_size:
            raise MapError(
                f"map {self.name} has values of {self.value_size} bytes; "
                f"{len(values)} bytes are no whole number of them"
            )
        try:
            self._element.push_all(values)
        except OSError as error:
            raise self._refused(error) from error

    def pop(self) -> bytes | None:
        """Take the next value of a queue or stack; None when it is empty."""
        return self._take(b"")

    def _lookup(self, key: bytes) -> bytes | None:
        self._check(key)
        try:
            return self._element.lookup(key)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error("read", error) from error

    def _take(self, key: bytes) -> bytes | None:
        try:
            return syscall.map_lookup_and_delete(self.fd, key, self.value_size)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error("take from", error) from error

    def _store(self, key: bytes, value: bytes, flags: int) -> bool:
        try:
            self._element.update(key, value, flags)
        except FileExistsError:
            return False
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._refused(error) from error
        return True

    def _pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """By batches, which neither repeat nor restart when a key vanishes; else key by key."""
        position: bytes | None = None
        count = _BATCH
        while True:
            try:
                position, pairs, ended = syscall.map_lookup_batch(
                    self.fd, position, count, self.key_size, self._read_size
                )
            except OSError as error:
                if error.errno == errno.ENOSPC and count < _MAX_BATCH:
                    count *= 4
                    continue
                if error.errno in _UNSUPPORTED and position is None:
                    yield from self._pairs_by_key()
                    return
                raise self._error("walk", error) from error
            yield from pairs
            if ended:
                return

    def _pairs_by_key(self) -> Iterator[tuple[bytes, bytes]]:
        key: bytes | None = None
        seen: set[bytes] = set()
        while True:
            try:
                key = syscall.map_next_key(self.fd, key, self.key_size)
            except FileNotFoundError:
                return
            except OSError as error:
                raise self._error("walk", error) from error
            if key in seen:  # the walk starts anew when its last key has been removed
                continue
            seen.add(key)
            raw = self._lookup(key)
            if raw is not None:
                yield key, raw

    def _split(self, raw: bytes) -> list[bytes]:
        size, slot = self.value_size, self._slot
        return [raw[i * slot : i * slot + size] for i in range(self._cpus)]

    def _check(self, key: bytes, value: bytes | None = None) -> None:
        if len(key) != self.key_size:
            raise MapError(f"map {self.name} has keys of {self.key_size} bytes, not {len(key)}")
        if value is not None and len(value) != self.value_size:
            raise MapError(
                f"map {self.name} has values of {self.value_size} bytes, not {len(value)}"
            )

    def _expect(self, *, per_cpu: bool) -> None:
        if per_cpu != self.per_cpu:
            raise MapError(f"map {self.name} has {'one value' if per_cpu else 'a value per CPU'}")

    def _refused(self, error: OSError) -> MapError:
        if error.errno in (errno.E2BIG, errno.ENOSPC):
            return MapError(f"map {self.name} is full ({self.max_entries} entries)", error.errno)
        return self._error("write", error)

    def _error(self, action: str, error: OSError) -> MapError:
        number = error.errno or 0
        return MapError(f"cannot {action} map {self.name}: {explain(number)}", number)
