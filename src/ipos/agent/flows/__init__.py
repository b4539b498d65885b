# SPDX-License-Identifier: Apache-2.0
"""Flows of UDP services, as far as the agent has to do with them."""
