# SPDX-License-Identifier: Apache-2.0
"""`python -m ipos` is the `ipos` command."""

from ipos.cli.entry import main

if __name__ == "__main__":
    main()
