# SPDX-License-Identifier: Apache-2.0
"""What `ipos doctor --farm` asks of all servers, and what they answer."""
