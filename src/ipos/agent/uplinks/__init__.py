# SPDX-License-Identifier: Apache-2.0
"""Several ways by which clients come: whether each works, and what is said of it."""
