# SPDX-License-Identifier: Apache-2.0
"""The TCP options that this kernel does not take over (`net.ipv4.tcp_timestamps` and two others).

Any server may do a handshake for any other, so a client is offered only what all of them can take
over. Each server says what its kernel refuses, and no server offers that. So one setting of 0
affects the whole farm.
"""

from contextlib import suppress
from pathlib import Path

from ipos.abi.rows import Options
from ipos.agent.host.load import Steady

SYSCTLS = {
    "tcp_timestamps": Options.TIMESTAMPS,
    "tcp_sack": Options.SACK,
    "tcp_window_scaling": Options.WSCALE,
}
PROC = Path("/proc/sys/net/ipv4")


class Withheld:
    """What is turned off in this network namespace, asked again and again."""

    def __init__(self, proc: Path = PROC) -> None:
        self._files: list[tuple[Steady, Options]] = []
        for name, option in SYSCTLS.items():
            with suppress(OSError):  # a kernel without the choice takes the option
                self._files.append((Steady(proc / name), option))
        self._said: list[bytes] = []
        self._found = Options(0)
        self.remark: str | None = None
        """What an operator should know of it."""

    def now(self) -> Options:
        said = [file.read() for file, _ in self._files]
        if said != self._said:
            self._said, self._found = said, Options(0)
            for value, (_, option) in zip(said, self._files, strict=True):
                if value.strip() == b"0":
                    self._found |= option
            self.remark = remark(self._found)
        return self._found


def remark(turned_off: Options) -> str | None:
    """What an operator should know of it."""
    names = [name for name, option in SYSCTLS.items() if option & turned_off]
    if not names:
        return None
    fix = " ".join(f"net.ipv4.{name}=1" for name in names)
    return (
        f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} off here, so no server of the "
        f"farm offers {'it' if len(names) == 1 else 'them'} to clients: sysctl -w {fix}"
    )
