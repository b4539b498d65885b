# SPDX-License-Identifier: Apache-2.0
"""What is raised when the network cannot be set up."""

from ipos.errors import IposError


class NetworkError(IposError):
    """The kernel's network cannot be set up as the configuration says."""
