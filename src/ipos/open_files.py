# SPDX-License-Identifier: Apache-2.0
"""How many files this process may have open.

The usual limit is 1,024, because select(2) knows no higher descriptor. The agent has one for each
endpoint on its way and for each application, and where it has none left it cannot even open a
program of the data plane.
"""

import resource

MOST = 16_384
_usual = resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def raise_limit() -> None:
    """Up to the hard limit, and no higher than `MOST`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(MOST, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def usual() -> str:
    """The limit before that, as `ulimit` takes it: that of the programs that we start."""
    return "unlimited" if _usual == resource.RLIM_INFINITY else str(_usual)
