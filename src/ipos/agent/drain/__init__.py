# SPDX-License-Identifier: Apache-2.0
"""How a server loses its connections before it stops: `ipos drain`."""
