# SPDX-License-Identifier: Apache-2.0
"""Reports when this server's own programs are refused, so that a user finds the reason."""

import structlog

from ipos.abi.layout import counter
from ipos.config.schema import Config
from ipos.kernel.maps import Tables

REMEMBERED_NS = 60_000_000_000

_COUNTER = counter("OWN_PROGRAM_REFUSED")

log = structlog.get_logger()


class OwnPrograms:
    """Follows the counter `own_program_refused`. `remarks` are of the last minute."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._count: int | None = None
        self._until_ns = 0
        self.remarks: list[str] = []

    def look(self, config: Config, now_ns: int) -> None:
        """Once a second. What the counter is at first is of before us."""
        before, self._count = self._count, self._tables.counter(_COUNTER)
        if before is not None and self._count > before:
            self._until_ns = now_ns + REMEMBERED_NS
        if now_ns >= self._until_ns:
            self.remarks = []
        elif not self.remarks:
            self.remarks = [_sentence(config.server.name)]
            log.warning("own program refused", reason=self.remarks[0])


def _sentence(me: str) -> str:
    return (
        f"a program on {me} itself, or in a container on it, was refused a connection to a service "
        f"address within the last minute, because it would have got the application of {me} where "
        "rules may lead to another server: let it call the servers by their back addresses, or say "
        'own_programs = "farm" in [farm], which serves all programs but those in containers'
    )
