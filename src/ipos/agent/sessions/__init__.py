# SPDX-License-Identifier: Apache-2.0
"""Identified sessions: what agents tell each other of them, and what operators do with them."""
