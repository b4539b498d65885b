# SPDX-License-Identifier: Apache-2.0
"""`python -m ipos` is the `ipos` command."""

from ipos.cli.main import app

if __name__ == "__main__":
    app()
