# SPDX-License-Identifier: Apache-2.0
"""`ipos detach` speaks only for a server that was heard of."""

from pathlib import Path

import pytest

from ipos.abi.rows import Settings
from ipos.agent.holders.farewell import Voice
from ipos.agent.snapshot.snapshot import Advertised, Snapshot
from ipos.errors import IposError

CONFIG = """\
[farm]
name = "shop"
secret_file = "key"
members = ["10.77.0.9"]
[server]
name = "s9"
front = "front"
back = "back"
addresses = ["203.0.113.9"]
[[service]]
name = "web"
port = 80
"""


def test_a_file_that_was_given_another_name_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("0123456789abcdef" * 4)
    (tmp_path / "key").chmod(0o600)
    file = tmp_path / "ipos.toml"
    file.write_text(CONFIG)
    heard = Advertised(1, "s1", "10.77.0.1", [], [], [])
    with pytest.raises(IposError, match=r"server s9, which is none of those heard of \(s1\)"):
        Voice(Snapshot(farm="shop", config=str(file), servers=[heard]), Settings())
