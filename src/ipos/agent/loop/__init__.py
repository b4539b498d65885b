# SPDX-License-Identifier: Apache-2.0
"""The tasks of the event loop, and what the agent could not do yet."""
