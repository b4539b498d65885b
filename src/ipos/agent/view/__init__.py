# SPDX-License-Identifier: Apache-2.0
"""What commands and the API show: status, tables, explanations, decisions, metrics."""
