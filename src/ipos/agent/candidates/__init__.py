# SPDX-License-Identifier: Apache-2.0
"""Which servers may get the requests of a service, and how a choice among them is prepared."""
