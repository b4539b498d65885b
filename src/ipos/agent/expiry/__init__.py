# SPDX-License-Identifier: Apache-2.0
"""Finds rows whose connection has gone, and removes them."""
