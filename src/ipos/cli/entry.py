# SPDX-License-Identifier: Apache-2.0
"""Where the `ipos` script begins: a fault is one sentence on stderr, exit status 1.

Two commands begin here without the command line's library, whose import is a seventh of a second.
An agent that comes back to its data plane has no time to spare, and `ipos lab exec` stands before
every command of a demonstration. What they do not understand is left to the library: help,
completion, mistakes.
"""

import sys
from typing import NoReturn

from ipos.errors import IposError


def main() -> None:
    try:
        if not _begins_at_once(sys.argv[1:]):
            from ipos.cli.main import root

            root()
    except IposError as error:
        _fail(str(error))
    except PermissionError as error:
        _fail(f"{_what(error)}: run it as root")
    except OSError as error:
        _fail(_what(error))


def _fail(sentence: str) -> NoReturn:
    print(f"ipos: {sentence}", file=sys.stderr)
    sys.exit(1)


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
            _enter("farm", node, command)
        case _:
            return False
    return True


def _is_plain(*words: str, command: list[str]) -> bool:
    """Whether no option is among the words, and there is a command."""
    return not any(word.startswith("-") for word in words) and command[:2] not in ([], ["--"])


def _serve(file: str | None) -> None:
    from pathlib import Path

    from ipos.agent.start import serve

    serve(None if file is None else Path(file))


def _enter(name: str, node: str, command: list[str]) -> None:
    from ipos.lab.lab import Lab

    Lab.load(name).exec(node, command[1:] if command[0] == "--" else command)
