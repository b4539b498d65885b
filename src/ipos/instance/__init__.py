# SPDX-License-Identifier: Apache-2.0
"""Applications that this server has started itself: their processes, and the file about them."""
