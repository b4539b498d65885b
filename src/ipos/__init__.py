# SPDX-License-Identifier: Apache-2.0
"""ipOS: a server farm without a load-balancer tier."""

__version__ = "0.1.0"
