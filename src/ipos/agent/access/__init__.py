# SPDX-License-Identifier: Apache-2.0
"""The access log: decisions and answers of the data plane as lines, and where they go."""
