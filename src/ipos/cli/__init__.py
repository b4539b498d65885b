# SPDX-License-Identifier: Apache-2.0
"""The `ipos` command: one module per subcommand, imported when it is called."""
