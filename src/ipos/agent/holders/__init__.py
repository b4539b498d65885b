# SPDX-License-Identifier: Apache-2.0
"""Which server answers for each service address, and how an address changes its holder."""
