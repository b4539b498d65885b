# SPDX-License-Identifier: Apache-2.0
"""Opens and loads eBPF object files with Debian's libbpf (1.1 or newer) through ctypes.

libbpf does what only it can: relocations, CO-RE, kfuncs, BTF. Maps that several objects share are
handed to it by descriptor, so what is pinned, and how it is compared, is decided in one place
(`ipos.kernel.data_plane`) and an unfit map is a sentence instead of EINVAL.
"""

import ctypes
import functools
import mmap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from ipos.closing import Closing
from ipos.kernel.libbpf.errors import LoadError, explain

_LOG_BYTES: Final = 16 << 20
_MESSAGE_BYTES: Final = 8192
_PRINT_DEBUG: Final = 2

_Print = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_Sample = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)

_SIGNATURES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "libbpf_set_print": (ctypes.c_void_p, [_Print]),
    "bpf_object__open_file": (ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_void_p]),
    "bpf_object__load": (ctypes.c_int, [ctypes.c_void_p]),
    "bpf_object__close": (None, [ctypes.c_void_p]),
    "bpf_object__next_map": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_void_p]),
    "bpf_object__next_program": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_void_p]),
    "bpf_map__name": (ctypes.c_char_p, [ctypes.c_void_p]),
    "bpf_map__fd": (ctypes.c_int, [ctypes.c_void_p]),
    "bpf_map__type": (ctypes.c_int, [ctypes.c_void_p]),
    "bpf_map__key_size": (ctypes.c_uint32, [ctypes.c_void_p]),
    "bpf_map__value_size": (ctypes.c_uint32, [ctypes.c_void_p]),
    "bpf_map__max_entries": (ctypes.c_uint32, [ctypes.c_void_p]),
    "bpf_map__map_flags": (ctypes.c_uint32, [ctypes.c_void_p]),
    "bpf_map__is_internal": (ctypes.c_bool, [ctypes.c_void_p]),
    "bpf_map__set_max_entries": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_uint32]),
    "bpf_map__reuse_fd": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
    "bpf_program__name": (ctypes.c_char_p, [ctypes.c_void_p]),
    "bpf_program__fd": (ctypes.c_int, [ctypes.c_void_p]),
    "bpf_program__set_log_buf": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t],
    ),
    "bpf_map__set_pin_path": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p]),
    "bpf_xdp_query_id": (
        ctypes.c_int,
        [ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_uint32)],
    ),
    "ring_buffer__new": (
        ctypes.c_void_p,
        [ctypes.c_int, _Sample, ctypes.c_void_p, ctypes.c_void_p],
    ),
    "ring_buffer__poll": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
    "ring_buffer__consume": (ctypes.c_int, [ctypes.c_void_p]),
    "ring_buffer__epoll_fd": (ctypes.c_int, [ctypes.c_void_p]),
    "ring_buffer__free": (None, [ctypes.c_void_p]),
}

_messages: list[str] = []
_libc = ctypes.CDLL(None)


def _collect(level: int, form: bytes, arguments: int) -> int:
    """libbpf's messages, kept for the error they belong to instead of written to stderr.

    A va_list passed on is a pointer on every machine we run on.
    """
    if level < _PRINT_DEBUG:
        text = ctypes.create_string_buffer(_MESSAGE_BYTES)
        _libc.vsnprintf(text, ctypes.c_size_t(_MESSAGE_BYTES), form, ctypes.c_void_p(arguments))
        _messages.append(text.value.decode(errors="replace").rstrip())
    return 0


_collector = _Print(_collect)  # kept: libbpf holds a bare pointer to it


@functools.cache
def library() -> ctypes.CDLL:
    """libbpf.so.1 with its prototypes; a sentence when it is not installed."""
    try:
        found = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise LoadError(f"libbpf is not installed ({error}): apt-get install libbpf1") from None
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    found.libbpf_set_print(_collector)
    return found


class ObjectMap:
    """A map as an object file declares it, before or after loading. Owned by its `BpfObject`."""

    def __init__(self, handle: int) -> None:
        lib = library()
        self._handle = handle
        self.name: str = lib.bpf_map__name(handle).decode()
        self.internal: bool = lib.bpf_map__is_internal(handle)
        """True for .rodata, .bss and the like, which belong to their object alone."""

    @property
    def fd(self) -> int:
        return int(library().bpf_map__fd(self._handle))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(type, key size, value size): what two objects must agree on to share a map."""
        lib, handle = library(), self._handle
        return (
            lib.bpf_map__type(handle),
            lib.bpf_map__key_size(handle),
            lib.bpf_map__value_size(handle),
        )

    @property
    def max_entries(self) -> int:
        return int(library().bpf_map__max_entries(self._handle))

    @max_entries.setter
    def max_entries(self, count: int) -> None:
        if library().bpf_map__set_max_entries(self._handle, count) < 0:
            number = ctypes.get_errno()
            raise LoadError(f"map {self.name} cannot have {count} entries: {explain(number)}")

    def reuse(self, fd: int) -> None:
        """Use the map behind `fd` in place of a new one. libbpf duplicates the descriptor."""
        if library().bpf_map__reuse_fd(self._handle, fd) < 0:
            number = ctypes.get_errno()
            raise LoadError(f"map {self.name} cannot be shared: {explain(number)}", number)


class BpfObject(Closing):
    """One .bpf.o file: open, adjust its maps, load, take its descriptors.

    Everything not pinned or attached by then is gone when it is closed.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        lib = library()
        _messages.clear()
        self._handle: int | None = lib.bpf_object__open_file(str(path).encode(), None)
        if not self._handle:
            number = ctypes.get_errno()
            raise LoadError(
                f"cannot open eBPF object {path}: {_reason(number, list(_messages))}",
                number,
                "\n".join(_messages),
            )
        self.maps = {m.name: m for m in map(ObjectMap, self._walk(lib.bpf_object__next_map))}
        self._programs: dict[str, int] = {
            lib.bpf_program__name(handle).decode(): handle
            for handle in self._walk(lib.bpf_object__next_program)
        }

    def _walk(self, following: Callable[..., int | None]) -> Iterator[int]:
        handle = following(self._handle, None)
        while handle:
            yield handle
            handle = following(self._handle, handle)

    def load(self) -> None:
        """Create maps and load programs; a refusal carries the verifier's whole log."""
        lib = library()
        with mmap.mmap(-1, _LOG_BYTES) as log:
            window = ctypes.c_char.from_buffer(log)
            for handle in self._programs.values():
                lib.bpf_program__set_log_buf(handle, ctypes.addressof(window), _LOG_BYTES)
            _messages.clear()
            result = lib.bpf_object__load(self._handle)
            number = ctypes.get_errno()
            del window
            if result < 0:
                verdict = log[: log.find(b"\0")].decode(errors="replace")
                for handle in self._programs.values():
                    lib.bpf_program__set_log_buf(handle, None, 0)
        if result < 0:
            raise LoadError(
                f"cannot load {self.path.name}: {_reason(number, list(_messages), verdict)}",
                number,
                "\n".join([verdict, *_messages]).strip(),
            )

    @property
    def programs(self) -> list[str]:
        return list(self._programs)

    def program_fd(self, name: str) -> int:
        """The descriptor of a loaded program; this object closes it."""
        return int(library().bpf_program__fd(self._programs[name]))

    def close(self) -> None:
        if self._handle:
            library().bpf_object__close(self._handle)
            self._handle = None


class RingBuffer(Closing):
    """The reading end of a ring buffer map. `fileno()` is readable when `consume` has work."""

    def __init__(self, map_fd: int, receive: Callable[[bytes], None]) -> None:
        """`receive` gets each record's bytes, from within `poll` and `consume` only."""
        self._receive = receive
        self._failure: Exception | None = None
        self._callback = _Sample(self._sample)  # kept: libbpf holds a bare pointer to it
        self._handle: int | None = library().ring_buffer__new(map_fd, self._callback, None, None)
        if not self._handle:
            number = ctypes.get_errno()
            raise LoadError(f"cannot read the ring buffer: {explain(number)}", number)

    def _sample(self, context: int, data: int, size: int) -> int:
        try:
            self._receive(ctypes.string_at(data, size))
        except Exception as error:  # must not unwind through C; raised again by _finish
            self._failure = error
            return -1
        return 0

    def fileno(self) -> int:
        return int(library().ring_buffer__epoll_fd(self._handle))

    def poll(self, timeout_ms: int) -> int:
        """Wait for records at most `timeout_ms`, deliver what is there, answer how many."""
        return self._finish(library().ring_buffer__poll(self._handle, timeout_ms))

    def consume(self) -> int:
        """Deliver what is there without waiting, answer how many."""
        return self._finish(library().ring_buffer__consume(self._handle))

    def _finish(self, result: int) -> int:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return max(result, 0)

    def close(self) -> None:
        if self._handle:
            library().ring_buffer__free(self._handle)
            self._handle = None


def _reason(number: int, messages: list[str], verdict: str = "") -> str:
    """The errno, and the one line of the logs that says most.

    The verifier's last line is a statistic; the complaint stands before it.
    """
    lines = [line.strip() for line in verdict.splitlines() if line.strip()]
    complaints = [
        line for line in lines if not line.startswith(("processed ", "verification time"))
    ]
    if complaints:
        return f"{explain(number)}: {complaints[-1]}"
    told = [line.removeprefix("libbpf: ") for line in messages]
    naming = [line for line in told if "extern" in line or "not found" in line]
    said = naming or told[:1]
    return f"{explain(number)}: {said[0].splitlines()[0]}" if said else explain(number)


def xdp_program_id(ifindex: int) -> int:
    """The id of the XDP program on an interface of this network namespace, 0 for none."""
    number = ctypes.c_uint32()
    result = library().bpf_xdp_query_id(ifindex, 0, ctypes.byref(number))
    if result < 0:
        raise OSError(-result, explain(-result))
    return number.value
