# SPDX-License-Identifier: Apache-2.0
"""The protocol in pure Python: an independent statement of what the C core does."""
