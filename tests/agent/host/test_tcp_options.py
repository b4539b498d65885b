# SPDX-License-Identifier: Apache-2.0
"""TCP options that a server's kernel does not take."""

from pathlib import Path

from ipos.abi.rows import Options
from ipos.agent.host import tcp_options


def test_what_is_turned_off(tmp_path: Path) -> None:
    (tmp_path / "tcp_timestamps").write_text("0\n")
    (tmp_path / "tcp_sack").write_text("1\n")
    withheld = tcp_options.Withheld(tmp_path)
    assert withheld.now() == Options.TIMESTAMPS
    assert withheld.remark is not None
    (tmp_path / "tcp_timestamps").write_text("1\n")
    assert withheld.now() == Options(0)
    assert withheld.remark is None
    said = tcp_options.remark(Options.TIMESTAMPS | Options.WSCALE)
    assert said is not None
    assert "sysctl -w net.ipv4.tcp_timestamps=1 net.ipv4.tcp_window_scaling=1" in said
    assert tcp_options.remark(Options(0)) is None
