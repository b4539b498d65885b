# SPDX-License-Identifier: Apache-2.0
"""The programs of the data plane at both ends of a wire to a container.

Containers come and go, so these links are none of the plan that `hooks.converge` keeps. Both are
called after our end of the wire: the other one's number means something only there.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from ipos.kernel import hooks
from ipos.kernel.hooks import BOX_HOOKS, Attachment, Hook
from ipos.kernel.pins import locked

Enter = Callable[[], AbstractContextManager[None]]
"""Has the calling thread in the container's network namespace for a while."""


def attach(pin_dir: Path, index: int, peer: int, enter: Enter) -> None:
    """Have both programs on their hooks. Repeatable. index: our end of the wire; peer: the other.

    The answers' way is there before the first packet goes in. AttachError: it cannot be done.
    """
    out = Attachment(Hook.BOX_OUT, index, label=index)
    into = Attachment(Hook.BOX_IN, peer, label=index)
    with locked(pin_dir):
        for wanted, inside in ((out, nullcontext), (into, enter)):
            with inside():
                hooks.ensure(pin_dir, wanted)


def indices(pin_dir: Path) -> set[int]:
    """Our ends of all wires that have programs, or had them until the wire went."""
    return {
        int(path.name.partition("-")[2])
        for hook in BOX_HOOKS
        for path in (pin_dir / "links").glob(f"{hook}-*")
    }


def remove(pin_dir: Path, index: int) -> None:
    """Take both programs off."""
    with locked(pin_dir):
        for hook in BOX_HOOKS:
            with suppress(FileNotFoundError):
                path = pin_dir / "links" / f"{hook}-{index}"
                if path.exists():
                    hooks.remove_link(path)
