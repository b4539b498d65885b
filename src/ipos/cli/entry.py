# SPDX-License-Identifier: Apache-2.0
"""The entry point of the `ipos` script: it prints a fault as one sentence on stderr and exits with
status 1.

Two commands begin here without the library for command lines, which takes a seventh of a second to
import: an agent that comes back to its data plane should be quick, and `ipos lab exec` precedes
every command of a demonstration. What they do not understand goes to the library: help, completion,
mistakes.
"""

# ruff: noqa: E402
# What `signal` is made from, without the milliseconds of its import.
import _signal  # type: ignore[import-not-found]
import sys

_IS_SCRIPT = (
    sys.argv[0].rpartition("/")[2] in ("ipos", "__main__.py", "-m")
    and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
)
if _IS_SCRIPT:
    # Until `main` is there to handle it, Ctrl-C ends us as it ends any program: in silence.
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import io
import os
from contextlib import suppress
from typing import NoReturn

from ipos.errors import IposError

_INTERRUPTED = 128 + 2
_UNREAD = 128 + 13


def main() -> None:
    _have_streams()
    try:
        if _IS_SCRIPT:
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        if not _begins_at_once(sys.argv[1:]):
            from ipos.cli.main import root

            try:
                root()
            finally:
                sys.stdout.flush()  # a fault like any other; later it would be one of Python's own
        sys.stdout.flush()
    except KeyboardInterrupt:
        _end(_INTERRUPTED)
    except BrokenPipeError:
        _end(_UNREAD)  # who read our output has seen enough
    except IposError as error:
        _fail(str(error))
    except PermissionError as error:
        _fail(f"{_what(error)}: run it as root")
    except OSError as error:
        _fail(_what(error))
    except Exception as error:
        if not _is_interrupt(error):
            raise
        _end(_INTERRUPTED)


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether it is or comes from a Ctrl-C: Python and libraries raise others in its place, as
    RuntimeError while a class is made.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _have_streams() -> None:
    """Whoever closed a standard stream gets none of what goes there, and no fault."""
    for fd in (0, 1, 2):
        with suppress(OSError):
            os.fstat(fd)
            continue
        os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # paths may have bytes that are no UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")


def _end(status: int) -> NoReturn:
    """What waits to be written and cannot be is thrown away: Python would fail by it at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(status)


def _fail(sentence: str) -> NoReturn:
    with suppress(OSError):
        print(f"ipos: {sentence}", file=sys.stderr)
    _end(1)


def _what(error: OSError) -> str:
    """What the kernel refused, and where that is known."""
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror or error}"


def _begins_at_once(arguments: list[str]) -> bool:
    """Whether it was one of these commands, which then is done."""
    match arguments:
        case ["agent"]:
            _serve(None)
        case ["agent", "--config", file]:
            _serve(file)
        case ["lab", "exec", "--name", name, node, *command] if _is_plain(
            name, node, command=command
        ):
            _enter(name, node, command)
        case ["lab", "exec", node, *command] if _is_plain(node, command=command):
            _enter(os.environ.get("IPOS_LAB") or "farm", node, command)
        case _:
            return False
    return True


def _is_plain(*words: str, command: list[str]) -> bool:
    """Whether no option is among the words, and there is a command."""
    return not any(word.startswith("-") for word in words) and command[:2] not in ([], ["--"])


def _serve(file: str | None) -> None:
    from pathlib import Path

    from ipos.agent.launch import serve

    serve(None if file is None else Path(file))


def _enter(name: str, node: str, command: list[str]) -> None:
    from ipos.lab.lab import Lab

    Lab.load(name).exec(node, command[1:] if command[0] == "--" else command)
