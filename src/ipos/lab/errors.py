# SPDX-License-Identifier: Apache-2.0
"""What the lab raises when it cannot do what it was asked."""

from ipos.errors import IposError


class LabError(IposError):
    """A lab could not be built, found or ended; the message says why and what to do."""
