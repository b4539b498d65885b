# SPDX-License-Identifier: Apache-2.0
"""The TCP options that this kernel does not take over (`net.ipv4.tcp_timestamps` and two others).

Any server may do a handshake for any other, so a client is offered only what all of them can take
over. Each server says what its kernel refuses, and no server offers that. So one setting of 0
affects the whole farm.
"""

from pathlib import Path

from ipos.abi.rows import Options

SYSCTLS = {
    "tcp_timestamps": Options.TIMESTAMPS,
    "tcp_sack": Options.SACK,
    "tcp_window_scaling": Options.WSCALE,
}
PROC = Path("/proc/sys/net/ipv4")


def withheld(proc: Path = PROC) -> Options:
    """What is turned off in this network namespace."""
    found = Options(0)
    for name, option in SYSCTLS.items():
        try:
            value = (proc / name).read_text()
        except OSError:  # a kernel without the choice takes the option
            continue
        if value.strip() == "0":
            found |= option
    return found


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
