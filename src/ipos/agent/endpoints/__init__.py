# SPDX-License-Identifier: Apache-2.0
"""Endpoints that migrate in mid-stream, with the state of applications that cooperate."""
