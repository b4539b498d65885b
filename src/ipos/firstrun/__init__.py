# SPDX-License-Identifier: Apache-2.0
"""`ipos setup`: the first configuration of a server."""
