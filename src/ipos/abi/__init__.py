# SPDX-License-Identifier: Apache-2.0
"""What the data plane shares with Python: constants, enums, structs, rows of maps."""
