# SPDX-License-Identifier: Apache-2.0
"""The base class of every error that a user reads.

    IposError                 a sentence: what, where, why, what to do
    └── KernelError           the kernel or libbpf refused          (ipos.kernel.libbpf)

The command line prints such an error as one line and exits with status 1; anything else that
reaches it is a defect and keeps its traceback.
"""


class IposError(Exception):
    """A fault that is one sentence and not a defect of the program."""
