# SPDX-License-Identifier: Apache-2.0
"""IPv6's programs beside IPv4's: which objects they are in, and how XDP comes to its own.

They are loaded only where some service has an IPv6 address. Their objects end in 6; maps that have
no address in their rows are shared with IPv4's by name.
"""

import os
from pathlib import Path
from typing import Final

from ipos.kernel import hooks
from ipos.kernel.libbpf import syscall
from ipos.kernel.libbpf.map_store import Map

JUMPS: Final = "families_xdp"
XDP: Final = "ipos_xdp6"


def is_six(path: Path) -> bool:
    """Whether an object file has programs of IPv6."""
    return path.name.removesuffix(".bpf.o").endswith("6")


def has_six(pin_dir: Path) -> bool:
    """Whether a loaded data plane has them."""
    return (pin_dir / "progs" / XDP).exists()


def join(pin_dir: Path) -> None:
    """Have IPv4's XDP program go on with IPv6's, where that is loaded."""
    if not has_six(pin_dir):
        return
    program = hooks.open_pin(pin_dir / "progs" / XDP, f"program {XDP}")
    try:
        with Map.open(pin_dir / "maps" / JUMPS) as jumps:
            syscall.map_update(jumps.fd, bytes(4), program.to_bytes(4, "little"))
    finally:
        os.close(program)
