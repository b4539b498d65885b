# SPDX-License-Identifier: Apache-2.0
"""The agent's API over HTTP on a Unix socket."""
