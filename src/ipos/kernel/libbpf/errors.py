# SPDX-License-Identifier: Apache-2.0
"""What can go wrong between this process and the kernel's BPF.

IposError
└── KernelError           the kernel or libbpf refused; carries errno and the verifier's log
    ├── LoadError         an object cannot be opened, or a program does not load
    ├── AttachError       a program does not go onto its hook
    │   └── SlotTaken     somebody else's XDP program is on the interface
    ├── PinError          bpffs is absent, or a pin cannot be made or read
    ├── MapError          a map operation failed
    ├── AbiMismatch       what is pinned and what is to be loaded do not fit together
    ├── AlreadyLoaded     there is a data plane in this pin directory
    └── NotLoaded         there is none
"""

import errno as errno_names
import os

from ipos.errors import IposError


def explain(number: int) -> str:
    """An errno in words and by name: `Permission denied (EACCES)`."""
    name = errno_names.errorcode.get(number, str(number))
    return f"{os.strerror(number)} ({name})"


class KernelError(IposError):
    """The kernel or libbpf refused. `errno` is 0 where the refusal was our own check.

    `log` is the verifier's log and libbpf's warnings, empty where there are none; the message
    already holds the line of it that matters.
    """

    def __init__(self, message: str, errno: int = 0, log: str = "") -> None:
        super().__init__(message)
        self.errno = errno
        self.log = log


class LoadError(KernelError):
    """An object cannot be opened, or one of its programs does not load."""


class AttachError(KernelError):
    """A program does not go onto its hook."""


class SlotTaken(AttachError):
    """Another XDP program is on the interface. `program` is its name, `id` its id."""

    def __init__(self, message: str, errno: int, program: str, program_id: int) -> None:
        super().__init__(message, errno)
        self.program = program
        self.program_id = program_id


class PinError(KernelError):
    """bpffs is absent, or a pin cannot be made or read."""


class MapError(KernelError):
    """A map operation failed in a way that is not an answer (a missing key is an answer)."""


class AbiMismatch(KernelError):
    """What is pinned and what is to be loaded do not fit together."""


class AlreadyLoaded(KernelError):
    """There is a data plane in this pin directory already."""


class NotLoaded(KernelError):
    """There is no data plane in this pin directory."""
