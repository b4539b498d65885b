# SPDX-License-Identifier: Apache-2.0
"""Captured frames in words and as a ladder: the demo and the agent's page show them."""
