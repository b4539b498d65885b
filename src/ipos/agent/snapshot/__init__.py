# SPDX-License-Identifier: Apache-2.0
"""What the agent knows of the farm and no map holds: written to a file, read at the next start."""
