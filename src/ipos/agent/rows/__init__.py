# SPDX-License-Identifier: Apache-2.0
"""Configuration and members in, rows of the data plane's maps out."""
