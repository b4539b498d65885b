# SPDX-License-Identifier: Apache-2.0
"""What the tests of configuration files share."""

from pathlib import Path

import pytest


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a configuration may be written; the farm's key, 16 bytes, lies beside it."""
    secret = tmp_path / "farm.key"
    secret.write_text("0123456789abcdef")
    secret.chmod(0o600)
    return tmp_path / "ipos.toml"
