# SPDX-License-Identifier: Apache-2.0
"""What an endpoint without an application does. Pure."""
